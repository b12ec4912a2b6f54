/*
 * What GenPool needs of the C library and the kernel, and Swift cannot say without importing
 * Glibc: a futex, a page that the kernel wipes in a forked child, zeroed memory that may fail, and
 * stores that the compiler must neither merge nor drop. Header only: nothing to link.
 */
#pragma once

#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Sleeps while *word == expected; returns at once otherwise, and on wake-ups of any kind. */
static inline void gp_futex_wait(uint32_t *word, uint32_t expected) {
  (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

/* Wakes one thread that sleeps on word. */
static inline void gp_futex_wake(uint32_t *word) {
  (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Eases the neighbouring hyperthread while a lock is spun on. */
static inline void gp_spin_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/*
 * A zeroed word that reads 0 again in every forked child (Linux 4.14); NULL without memory or on a
 * kernel that cannot.
 */
static inline void *gp_fork_word(void) {
  void *page = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return NULL;
  if (madvise(page, (size_t)sysconf(_SC_PAGESIZE), MADV_WIPEONFORK) != 0) {
    (void)munmap(page, (size_t)sysconf(_SC_PAGESIZE));
    return NULL;
  }
  return page;
}

/* count zeroed words, or NULL; large ones come from the kernel untouched, so this takes no time. */
static inline uint64_t *gp_words_allocate(size_t count) {
  return (uint64_t *)calloc(count ? count : 1, sizeof(uint64_t));
}

static inline void gp_words_free(uint64_t *words) { free(words); }

/*
 * Zeroes memory that may be a device's: naturally aligned stores of one width at a time, because
 * device memory need not tolerate what memset does (vector stores, string instructions, dc zva).
 */
static inline void gp_zero(uint64_t address, uint64_t size) {
  volatile uint8_t *byte = (volatile uint8_t *)(uintptr_t)address;
  for (; size > 0 && ((uintptr_t)byte & 7) != 0; size--) *byte++ = 0;
  volatile uint64_t *word = (volatile uint64_t *)byte;
  for (; size >= 8; size -= 8) *word++ = 0;
  byte = (volatile uint8_t *)word;
  for (; size > 0; size--) *byte++ = 0;
  /* Out of the write-combining buffers before anybody tells a device of this memory. */
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
