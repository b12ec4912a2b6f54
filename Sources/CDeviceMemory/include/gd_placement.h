/*
 * Maps device memory at an address of our choosing.
 *
 * Why C: it takes MAP_FIXED over a reservation, whose failures must be undone without hitting what
 * other threads map meanwhile, and MAP_FAILED, which Swift does not see.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/*
 * Maps `length` bytes of `descriptor` from `offset` on, readable, shared and, if `is_writable`, writable,
 * at an address that equals `congruent` modulo `alignment`. All are multiples of the page size; `alignment` is a
 * power of two. Forked children do not inherit the mapping and core dumps leave it out.
 * Returns 0, or -errno with nothing mapped.
 */
int gd_map(int descriptor, uint64_t offset, size_t length, int is_writable, size_t alignment,
           uint64_t congruent, void **mapped);

/* Ends a mapping made by gd_map. Returns 0 or -errno. */
int gd_unmap(void *mapped, size_t length);

/*
 * Puts pages of all-ones in the place of a mapping made by gd_map, as a device that is gone reads.
 * They are this process's own: what is written to them goes nowhere. Other threads may use the memory
 * meanwhile. Returns 0 or -errno; then part of it may still be the device's, or nothing.
 */
int gd_overmap(void *mapped, size_t length);
