/*
 * Memory with a descriptor, which tests take for a device's.
 *
 * Why C: Swift's Glibc module has no memfd_create.
 */
#pragma once
#include <stdint.h>

/* `size` bytes of zeros as a new descriptor (closed on exec), to which seals may be added; or -errno. */
int cm_create(const char *name, uint64_t size);
