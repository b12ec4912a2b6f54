/*
 * The idea (Masmano et al., TLSF, 2004; Aaltonen's OffsetAllocator, 2023): free ranges in lists by size
 * class, classes like small floating-point numbers, two levels of bit masks to find a list that is not
 * empty, neighbours linked by address so that a freed range merges with them. All constant time; a
 * request is rounded up to a class, any range of the class will do.
 */
#include "CBaselines.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MANTISSA = 3, ROWS = 32, COLUMNS = 1 << MANTISSA, BINS = ROWS * COLUMNS };
#define NIL UINT32_MAX

struct node {
  uint32_t first, count;
  uint32_t previous, next;   /* by address */
  uint32_t newer, older;     /* in the bin */
  uint32_t used;
};

struct binned_pool {
  _Atomic uint32_t lock;
  enum binned_lock kind;
  pthread_mutex_t mutex;
  uint32_t rows;             /* bit r: row r has a bin that is not empty */
  uint8_t columns[ROWS];
  uint32_t bins[BINS];
  uint32_t capacity, spare;  /* spare: how many of free_nodes are to be had */
  struct node *nodes;
  uint32_t *free_nodes;
};

static void futex(_Atomic uint32_t *word, int operation, uint32_t value) {
  (void)syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

static void acquire(binned_pool *pool) {
  if (pool->kind == BINNED_MUTEX) {
    (void)pthread_mutex_lock(&pool->mutex);
    return;
  }
  uint32_t free_word = 0;
  if (atomic_compare_exchange_strong_explicit(&pool->lock, &free_word, 1, memory_order_acquire,
                                              memory_order_relaxed))
    return;
  /* As genpool's lock does. */
  for (int i = 0, pauses = 16; i < 20; i++, pauses = pauses < 256 ? 2 * pauses : 256) {
#ifdef __x86_64__
    for (int pause = 0; pause < pauses; pause++) __builtin_ia32_pause();
#endif
    free_word = 0;
    if (atomic_load_explicit(&pool->lock, memory_order_relaxed) == 0 &&
        atomic_compare_exchange_strong_explicit(&pool->lock, &free_word, 1, memory_order_acquire,
                                                memory_order_relaxed))
      return;
  }
  while (atomic_exchange_explicit(&pool->lock, 2, memory_order_acquire) != 0)
    futex(&pool->lock, FUTEX_WAIT_PRIVATE, 2);
}

static void release(binned_pool *pool) {
  if (pool->kind == BINNED_MUTEX) {
    (void)pthread_mutex_unlock(&pool->mutex);
    return;
  }
  if (atomic_exchange_explicit(&pool->lock, 0, memory_order_release) == 2)
    futex(&pool->lock, FUTEX_WAKE_PRIVATE, 1);
}

/* The class of ranges of at least count granules: row = exponent, column = mantissa. */
static inline uint32_t bin_below(uint32_t count) {
  if (count < COLUMNS) return count;
  uint32_t shift = 31 - (uint32_t)__builtin_clz(count) - MANTISSA;
  return ((shift + 1) << MANTISSA) + ((count >> shift) & (COLUMNS - 1));
}

/* The lowest class in which every range has at least count granules. */
static inline uint32_t bin_above(uint32_t count) {
  uint32_t bin = bin_below(count);
  if (count < COLUMNS) return bin;
  uint32_t shift = 31 - (uint32_t)__builtin_clz(count) - MANTISSA;
  return bin + ((count & ((1u << shift) - 1)) != 0);
}

static inline void insert(binned_pool *pool, uint32_t index) {
  struct node *node = &pool->nodes[index];
  uint32_t bin = bin_below(node->count), head = pool->bins[bin];
  node->used = 0;
  node->newer = NIL;
  node->older = head;
  if (head != NIL) pool->nodes[head].newer = index;
  pool->bins[bin] = index;
  pool->rows |= 1u << (bin >> MANTISSA);
  pool->columns[bin >> MANTISSA] |= (uint8_t)(1u << (bin & (COLUMNS - 1)));
}

static inline void take_out(binned_pool *pool, uint32_t index) {
  struct node *node = &pool->nodes[index];
  if (node->older != NIL) pool->nodes[node->older].newer = node->newer;
  if (node->newer != NIL) {
    pool->nodes[node->newer].older = node->older;
    return;
  }
  uint32_t bin = bin_below(node->count), row = bin >> MANTISSA;
  pool->bins[bin] = node->older;
  if (node->older != NIL) return;
  pool->columns[row] &= (uint8_t) ~(1u << (bin & (COLUMNS - 1)));
  if (!pool->columns[row]) pool->rows &= ~(1u << row);
}

binned_pool *binned_create(uint32_t granules, uint32_t allocations, enum binned_lock kind) {
  binned_pool *pool = calloc(1, sizeof *pool);
  if (!pool) return NULL;
  /* Between any two allocations there may be a free range. */
  pool->capacity = 2 * allocations + 1;
  pool->kind = kind;
  (void)pthread_mutex_init(&pool->mutex, NULL);
  pool->nodes = calloc(pool->capacity, sizeof *pool->nodes);
  pool->free_nodes = calloc(pool->capacity, sizeof *pool->free_nodes);
  if (!pool->nodes || !pool->free_nodes) {
    binned_destroy(pool);
    return NULL;
  }
  for (uint32_t i = 0; i < BINS; i++) pool->bins[i] = NIL;
  for (uint32_t i = 0; i < pool->capacity; i++) pool->free_nodes[i] = pool->capacity - 1 - i;
  pool->spare = pool->capacity - 1;
  pool->nodes[0] = (struct node){.first = 0, .count = granules, .previous = NIL, .next = NIL};
  insert(pool, 0);
  return pool;
}

void binned_destroy(binned_pool *pool) {
  if (!pool) return;
  (void)pthread_mutex_destroy(&pool->mutex);
  free(pool->nodes);
  free(pool->free_nodes);
  free(pool);
}

static inline binned_allocation allocate(binned_pool *pool, uint32_t count) {
  binned_allocation none = {.first = 0, .node = NIL};
  if (!pool->spare) return none;
  uint32_t bin = bin_above(count), row = bin >> MANTISSA;
  uint32_t columns = row < ROWS ? pool->columns[row] & ~0u << (bin & (COLUMNS - 1)) : 0;
  if (!columns) {
    uint32_t rows = row + 1 < ROWS ? pool->rows & ~0u << (row + 1) : 0;
    if (!rows) return none;
    row = (uint32_t)__builtin_ctz(rows);
    columns = pool->columns[row];
  }
  uint32_t index = pool->bins[row << MANTISSA | (uint32_t)__builtin_ctz(columns)];
  struct node *node = &pool->nodes[index];
  take_out(pool, index);
  node->used = 1;
  if (node->count > count) {
    uint32_t rest = pool->free_nodes[--pool->spare];
    pool->nodes[rest] = (struct node){
        .first = node->first + count,
        .count = node->count - count,
        .previous = index,
        .next = node->next,
    };
    if (node->next != NIL) pool->nodes[node->next].previous = rest;
    node->next = rest;
    node->count = count;
    insert(pool, rest);
  }
  return (binned_allocation){.first = node->first, .node = index};
}

static inline void merge(binned_pool *pool, struct node *into, uint32_t index, uint32_t other) {
  struct node *node = &pool->nodes[other];
  take_out(pool, other);
  into->count += node->count;
  if (node->first < into->first) {
    into->first = node->first;
    into->previous = node->previous;
    if (into->previous != NIL) pool->nodes[into->previous].next = index;
  } else {
    into->next = node->next;
    if (into->next != NIL) pool->nodes[into->next].previous = index;
  }
  pool->free_nodes[pool->spare++] = other;
}

binned_allocation binned_allocate(binned_pool *pool, uint32_t count) {
  acquire(pool);
  binned_allocation allocation = allocate(pool, count);
  release(pool);
  return allocation;
}

void binned_free(binned_pool *pool, binned_allocation allocation) {
  acquire(pool);
  uint32_t index = allocation.node;
  struct node *node = &pool->nodes[index];
  if (node->previous != NIL && !pool->nodes[node->previous].used)
    merge(pool, node, index, node->previous);
  if (node->next != NIL && !pool->nodes[node->next].used) merge(pool, node, index, node->next);
  insert(pool, index);
  release(pool);
}

size_t binned_bytes(const binned_pool *pool) {
  return sizeof *pool + pool->capacity * (sizeof *pool->nodes + sizeof *pool->free_nodes);
}
