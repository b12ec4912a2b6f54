/*
 * What genpool is measured against: a linear scan, as the kernel searches, and binned free lists,
 * as fast allocators do; for the broker, a server that does nothing. All are written here, from the
 * semantics and from the published idea. In C, -O2, because that is what a user would otherwise
 * have.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A number no granule has: no place. */
#define BASELINE_NONE UINT64_MAX

/* ---- The linear scan: gen_pool by its semantics, lock-free. ---- */

typedef struct linear_pool linear_pool;

enum linear_fit { LINEAR_FIRST, LINEAR_ALIGNED, LINEAR_ORDER_ALIGNED, LINEAR_BEST, LINEAR_FIXED };

/* A pool of count chunks of granules each; NULL without memory. Granule g of chunk c is number
 * c * granules + g; chunk 0 was added last, so it is searched first. */
linear_pool *linear_create(uint32_t count, uint64_t granules);
void linear_destroy(linear_pool *pool);
/* A chunk's map, to be copied into before any other use, and its size in words. */
uint64_t *linear_map(linear_pool *pool, uint32_t chunk);
size_t linear_words(const linear_pool *pool);
/* To be called after the maps were written: counts what is available. */
void linear_recount(linear_pool *pool);
/* argument: LINEAR_ALIGNED: granules, a power of two; LINEAR_FIXED: the granule in each chunk. */
uint64_t linear_allocate(linear_pool *pool, uint64_t count, enum linear_fit fit, uint64_t argument);
void linear_free(linear_pool *pool, uint64_t first, uint64_t count);

/* ---- Bins: a two-level segregated offset allocator, metadata outside the memory. ---- */

typedef struct binned_pool binned_pool;

typedef struct {
  uint32_t first; /* the lowest granule */
  uint32_t node;  /* what frees it; UINT32_MAX: nothing was allocated */
} binned_allocation;

/* What every operation takes: a lock like genpool's, or the C library's. */
enum binned_lock { BINNED_SPINLOCK, BINNED_MUTEX };

/* A pool of granules for at most allocations at once; NULL without memory. */
binned_pool *binned_create(uint32_t granules, uint32_t allocations, enum binned_lock kind);
void binned_destroy(binned_pool *pool);
binned_allocation binned_allocate(binned_pool *pool, uint32_t count);
void binned_free(binned_pool *pool, binned_allocation allocation);
/* The metadata, in bytes. */
size_t binned_bytes(const binned_pool *pool);

/* ---- Echo: a process that answers each message at once. ---- */

typedef struct echo_server echo_server;

/* Starts the process, a child that ends with this one; NULL with errno. To be called before there
 * are other threads. It waits for a message in recvmsg, or, as a server of many clients has to, in
 * epoll_wait. */
echo_server *echo_start(bool waits_in_set);
void echo_stop(echo_server *server);
/* Sends a message of call bytes over a Unix stream socket and receives one of reply bytes, with a
 * descriptor if it is to carry one, which is closed. call is at least 8, both at most 4096. false when
 * the process has ended. */
bool echo_call(echo_server *server, uint32_t call, uint32_t reply, bool carries_descriptor);

/* ---- What malloc has given and not got back, in bytes. Swift's Glibc has no malloc.h. ---- */

size_t heap_size(void);
