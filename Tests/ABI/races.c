/*
 * Threads on one pool, for the thread sanitizer: races [COUNT]. Each writes to what it is given without
 * atomics: the pool alone orders a free before the allocation that has the memory next.
 */
#include "check.h"

#include <genpool.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { ORDER = 12, GRANULE = 1 << ORDER, GRANULES = 64, THREADS = 4 };

static struct gen_pool *pool;
static long rounds;

static int use(unsigned long addr) {
  if (!addr) return 0;
  memset((void *)addr, (int)addr, GRANULE);
  return 1;
}

/* By every way in and out that takes turns with the others. */
static void *churn(void *seed) {
  size_t number = (size_t)seed;
  unsigned long batch[2];
  struct genpool_cache *cache = NULL;
  long used = 0;
  if (genpool_cache_create(pool, 0, 0, &cache)) return NULL;
  for (long round = 0; round < rounds; round++) {
    size_t size = 1 + number % 3 * GRANULE;
    number = number * 6364136223846793005u + 1442695040888963407u;
    unsigned long addr = number >> 62 ? gen_pool_alloc(pool, size) : genpool_cache_alloc(cache, size);
    used += use(addr);
    if (addr && number >> 61 & 1) gen_pool_free(pool, addr, size);
    else if (addr) genpool_cache_free(cache, addr, size);
    if (round % 16 == 0 && genpool_alloc_batch(pool, GRANULE, 2, batch) == 0) {
      used += use(batch[0]) + use(batch[1]);
      genpool_free_batch(pool, GRANULE, 2, batch);
    }
    gen_pool_avail(pool);
  }
  genpool_cache_destroy(cache);
  return (void *)used;
}

int main(int count, char **arguments) {
  rounds = count > 1 ? atol(arguments[1]) : 20000;
  void *memory = aligned_alloc(GRANULE, GRANULES * GRANULE);
  pool = gen_pool_create(ORDER, -1);
  if (!memory || !pool || gen_pool_add(pool, (unsigned long)memory, GRANULES * GRANULE, -1)) return 2;
  pthread_t threads[THREADS];
  int busy = 0;
  for (size_t i = 0; i < THREADS; i++)
    if (pthread_create(&threads[i], NULL, churn, (void *)(i + 1))) return 2;
  for (int i = 0; i < THREADS; i++) {
    void *used = NULL;
    pthread_join(threads[i], &used);
    busy += (long)used > rounds / 2;
  }
  check(busy == THREADS, "each thread had memory to write to");
  check(gen_pool_avail(pool) == GRANULES * GRANULE, "all of it came back");
  gen_pool_destroy(pool);
  free(memory);
  return conclusion();
}
