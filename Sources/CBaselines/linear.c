#include "CBaselines.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct chunk {
  _Atomic uint64_t available; /* granules */
  _Atomic uint64_t *map;
};

struct linear_pool {
  uint32_t count;
  uint64_t granules;
  struct chunk chunks[];
};

linear_pool *linear_create(uint32_t count, uint64_t granules) {
  linear_pool *pool = calloc(1, sizeof *pool + count * sizeof(struct chunk));
  if (!pool) return NULL;
  pool->granules = granules;
  for (; pool->count < count; pool->count++) {
    struct chunk *chunk = &pool->chunks[pool->count];
    chunk->map = calloc(linear_words(pool), sizeof *chunk->map);
    chunk->available = granules;
    if (!chunk->map) {
      linear_destroy(pool);
      return NULL;
    }
  }
  return pool;
}

void linear_destroy(linear_pool *pool) {
  if (!pool) return;
  for (uint32_t i = 0; i < pool->count; i++) free((void *)pool->chunks[i].map);
  free(pool);
}

uint64_t *linear_map(linear_pool *pool, uint32_t chunk) {
  return (uint64_t *)pool->chunks[chunk].map;
}

size_t linear_words(const linear_pool *pool) { return (pool->granules + 63) / 64; }

void linear_recount(linear_pool *pool) {
  for (uint32_t i = 0; i < pool->count; i++) {
    uint64_t taken = 0;
    for (size_t w = 0; w < linear_words(pool); w++)
      taken += (uint64_t)__builtin_popcountll(pool->chunks[i].map[w]);
    pool->chunks[i].available = pool->granules - taken;
  }
}

/* Relaxed loads: other threads' bits may be seen late, which setting them finds out. */
static inline uint64_t word(const _Atomic uint64_t *map, uint64_t index) {
  return atomic_load_explicit(&map[index], memory_order_relaxed);
}

/* The lowest bit >= start, < size that differs from those of flip; size when there is none. */
static inline uint64_t next(const _Atomic uint64_t *map, uint64_t size, uint64_t start,
                            uint64_t flip) {
  if (start >= size) return size;
  uint64_t index = start / 64;
  uint64_t bits = (word(map, index) ^ flip) & ~UINT64_C(0) << start % 64;
  while (!bits) {
    if (++index * 64 >= size) return size;
    bits = word(map, index) ^ flip;
  }
  uint64_t bit = index * 64 + (uint64_t)__builtin_ctzll(bits);
  return bit < size ? bit : size;
}

static uint64_t next_taken(const _Atomic uint64_t *map, uint64_t size, uint64_t start) {
  return next(map, size, start, 0);
}

static uint64_t next_free(const _Atomic uint64_t *map, uint64_t size, uint64_t start) {
  return next(map, size, start, ~UINT64_C(0));
}

static uint64_t first_fit(const _Atomic uint64_t *map, uint64_t size, uint64_t start,
                          uint64_t count, uint64_t mask) {
  for (;;) {
    uint64_t index = (next_free(map, size, start) + mask) & ~mask;
    if (index + count > size) return size;
    uint64_t taken = next_taken(map, index + count, index);
    if (taken == index + count) return index;
    start = taken + 1;
  }
}

static uint64_t best_fit(const _Atomic uint64_t *map, uint64_t size, uint64_t start,
                         uint64_t count) {
  uint64_t best = size, shortest = UINT64_MAX;
  for (uint64_t index = next_free(map, size, start); index < size;) {
    uint64_t end = next_taken(map, size, index);
    if (end - index >= count && end - index < shortest) {
      best = index;
      shortest = end - index;
      if (shortest == count) break;
    }
    index = next_free(map, size, end);
  }
  return best;
}

static uint64_t search(const struct chunk *chunk, uint64_t size, uint64_t start, uint64_t count,
                       enum linear_fit fit, uint64_t argument) {
  switch (fit) {
    case LINEAR_FIRST: return first_fit(chunk->map, size, start, count, 0);
    case LINEAR_ALIGNED: return first_fit(chunk->map, size, start, count, argument - 1);
    case LINEAR_ORDER_ALIGNED: {
      uint64_t width = 1;
      while (width < count) width *= 2;
      return first_fit(chunk->map, size, start, count, width - 1);
    }
    case LINEAR_BEST: return best_fit(chunk->map, size, start, count);
    case LINEAR_FIXED: {
      if (argument + count > size) return size;
      uint64_t found = first_fit(chunk->map, size, start + argument, count, 0);
      return found == argument ? found : size;
    }
  }
  return size;
}

static inline uint64_t bits_of(uint64_t shift, uint64_t part) {
  return ~UINT64_C(0) >> (64 - part) << shift;
}

/* Clears bits word by word. */
static void clear(_Atomic uint64_t *map, uint64_t first, uint64_t count) {
  while (count) {
    uint64_t shift = first % 64, part = count < 64 - shift ? count : 64 - shift;
    uint64_t mask = bits_of(shift, part), old = word(map, first / 64);
    while (!atomic_compare_exchange_weak(&map[first / 64], &old, old & ~mask)) {
    }
    first += part;
    count -= part;
  }
}

/* Sets bits word by word; the bits not set because another thread was there first. */
static uint64_t set(_Atomic uint64_t *map, uint64_t first, uint64_t count) {
  while (count) {
    uint64_t shift = first % 64, part = count < 64 - shift ? count : 64 - shift;
    uint64_t mask = bits_of(shift, part), old = word(map, first / 64);
    do {
      if (old & mask) return count;
    } while (!atomic_compare_exchange_weak(&map[first / 64], &old, old | mask));
    first += part;
    count -= part;
  }
  return 0;
}

uint64_t linear_allocate(linear_pool *pool, uint64_t count, enum linear_fit fit,
                         uint64_t argument) {
  for (uint32_t i = 0; i < pool->count; i++) {
    struct chunk *chunk = &pool->chunks[i];
    if (count > atomic_load_explicit(&chunk->available, memory_order_relaxed)) continue;
    uint64_t start = 0;
    for (;;) {
      uint64_t index = search(chunk, pool->granules, start, count, fit, argument);
      if (index >= pool->granules) break;
      uint64_t rest = set(chunk->map, index, count);
      if (!rest) {
        atomic_fetch_sub(&chunk->available, count);
        return i * pool->granules + index;
      }
      clear(chunk->map, index, count - rest);
      start = index + (count - rest);
    }
  }
  return BASELINE_NONE;
}

void linear_free(linear_pool *pool, uint64_t first, uint64_t count) {
  struct chunk *chunk = &pool->chunks[first / pool->granules];
  clear(chunk->map, first % pool->granules, count);
  atomic_fetch_add(&chunk->available, count);
}
