/*
 * Finds out whether device memory can be mapped, without touching it.
 *
 * Why C: Swift does not see MAP_FAILED.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/*
 * Maps `length` bytes at `offset`, readable, writable and shared, and unmaps them again. Nothing is
 * read or written: a load can have side effects in a device.
 * Returns 0 or -errno.
 */
int gs_probe(int descriptor, uint64_t offset, size_t length);
