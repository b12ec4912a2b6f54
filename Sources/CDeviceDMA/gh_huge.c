#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include "gh_huge.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

enum { huge_page = 2 << 20 };

int gh_huge_pages(uint64_t size) {
  int file = memfd_create("genpool", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_2MB);
  if (file < 0) return -errno;
  int error = 0;
  /* fallocate, so that pages are taken now and no access is a SIGBUS later. */
  if (ftruncate(file, (off_t)size) || fallocate(file, 0, 0, (off_t)size) ||
      fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
    error = -errno;
  if (error) close(file);
  return error ? error : file;
}

/* Asks /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst) for every page of `start`. */
static int look_up(const volatile char *start, uint64_t *physical) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) return -errno;
  int error = 0;
  for (uint64_t at = 0; at < huge_page && !error; at += page) {
    uint64_t entry;
    ssize_t count = pread(pagemap, &entry, sizeof entry, (off_t)(((uintptr_t)start + at) / page * sizeof entry));
    if (count != sizeof entry) {
      error = count < 0 ? -errno : -EIO;
      break;
    }
    uint64_t frame = entry & ((UINT64_C(1) << 55) - 1);
    int is_present = (int)(entry >> 63);
    if (is_present && frame == 0) error = -EPERM;
    if (at == 0) *physical = frame * page;
    if (!is_present || frame * page != *physical + at) error = error ? error : -EIO;
  }
  close(pagemap);
  return error;
}

int gh_huge_page_address(int descriptor, uint64_t offset, uint64_t *physical) {
  char *start =
      mmap(NULL, huge_page, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, (off_t)offset);
  if (start == MAP_FAILED) return -errno;
  /* Faults it in: only pages that are present have an entry. */
  *(volatile char *)start = 0;
  int error = look_up(start, physical);
  munmap(start, huge_page);
  return error;
}
