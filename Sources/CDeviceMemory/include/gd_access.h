/*
 * Touches device memory: registers, and runs of bytes.
 *
 * Why C: a device counts accesses, so each must be one instruction of one width, which only
 * `volatile` promises; and an access that the device does not answer must come back as an error
 * (gd_fault_guard.h), which takes sigsetjmp.
 *
 * Device memory tolerates naturally aligned accesses of 1, 2, 4 and 8 bytes, no more: memset, memcpy
 * and the loops a compiler makes of them use vectors, `rep stos`, overlapping tails and, on arm64,
 * `dc zva`, which fault or misbehave on uncached mappings.
 *
 * All return 0, or -EFAULT when the guard is enabled and the memory did not answer; then `*failed` is
 * the offset of the byte that did not. Accesses before it have happened.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* One access of 1, 2, 4 or 8 bytes at a multiple of `width`; -EINVAL for any other width. */
int gd_load(const volatile void *device, unsigned width, uint64_t *value);
int gd_store(volatile void *device, unsigned width, uint64_t value);

/* Zeroes `count` bytes. */
int gd_zero(volatile void *device, size_t count, size_t *failed);
/* Copies `count` bytes from host memory into the device. */
int gd_copy_in(volatile void *device, const void *host, size_t count, size_t *failed);
/* Copies `count` bytes from the device into host memory. */
int gd_copy_out(void *host, const volatile void *device, size_t count, size_t *failed);

/*
 * Reads the word (8 aligned bytes; by bytes where not all are asked about) that holds every
 * `stride`-th byte, and the last one; so a stride of 8 or less reads all. At the first word or byte
 * that is not zero: 1, its offset in `*where` and its value in `*found`.
 */
int gd_find_nonzero(const volatile void *device, size_t count, size_t stride, size_t *where,
                    uint64_t *found, size_t *failed);
