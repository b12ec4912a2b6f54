/*
 * Maps device memory at an address of our choosing.
 *
 * Why C: between finding a place and mapping it the addresses belong to nobody, so the two calls
 * must stand side by side, and Swift sees neither MAP_FAILED nor MAP_FIXED_NOREPLACE.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/*
 * Maps `length` bytes of `descriptor` from `offset` on, readable, writable and shared, at an address
 * that equals `congruent` modulo `alignment`. All are multiples of the page size; `alignment` is a
 * power of two. Forked children do not inherit the mapping and core dumps leave it out.
 * Returns 0, or -errno with nothing mapped.
 */
int gd_map(int descriptor, uint64_t offset, size_t length, size_t alignment, uint64_t congruent,
           void **mapped);

/* Ends a mapping made by gd_map. Returns 0 or -errno. */
int gd_unmap(void *mapped, size_t length);
