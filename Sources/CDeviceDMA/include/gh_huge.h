/*
 * Huge pages of the host's memory, and where they are.
 *
 * Why C: memfd_create with MFD_HUGE_2MB and the seals are macros of Linux's that Swift does not see,
 * and the page must be mapped and touched while pagemap is asked, which takes MAP_FAILED.
 */
#pragma once
#include <stdint.h>

/*
 * Reserves `size` bytes, a multiple of 2 MiB, in a file of its own, which can change its size no more.
 * Returns the descriptor, or -errno: ENOMEM or ENOSPC when too few huge pages are free.
 */
int gh_huge_pages(uint64_t size);

/*
 * Where the huge page at `offset` is, in `*physical`, after seeing that all of its 4 KiB pages follow
 * one another. Returns 0, or -EPERM when the kernel hides it (CAP_SYS_ADMIN), -EIO when the pages do not
 * follow one another, or another -errno.
 */
int gh_huge_page_address(int descriptor, uint64_t offset, uint64_t *physical);
