/* A program with pools, for valgrind: what it makes it ends. */
#include "check.h"

#include <genpool.h>
#include <pthread.h>
#include <stdlib.h>

enum { ORDER = 12, GRANULE = 1 << ORDER, GRANULES = 4096 };

static void *fail(void *data) {
  genpool_chunk_drain((struct gen_pool *)data, 1);
  return (void *)(long)(genpool_error_text()[0] != 0);
}

int main(void) {
  void *memory = aligned_alloc(GRANULE, GRANULES * GRANULE), *result = NULL;
  struct genpool_data_align align = {4 * GRANULE};
  int right = 1;
  for (int round = 0; round < 8; round++) {
    struct gen_pool *pool = gen_pool_create(ORDER, -1);
    struct genpool_cache *cache;
    unsigned long addr[4], start = (unsigned long)memory;
    gen_pool_add(pool, start, GRANULES / 2 * GRANULE, -1);
    gen_pool_add_owner(pool, start + GRANULES / 2 * GRANULE, 0x1000, GRANULES / 2 * GRANULE, -1, memory);
    right &= genpool_cache_create(pool, 0, 0, &cache) == 0;
    addr[0] = gen_pool_alloc(pool, 5);
    addr[1] = gen_pool_alloc_algo(pool, 5, gen_pool_best_fit, NULL);
    addr[2] = gen_pool_alloc_algo(pool, 5, gen_pool_first_fit_align, &align);
    addr[3] = genpool_cache_alloc(cache, 5);
    right &= genpool_tag(pool, addr[1], 5, 7) == 0;
    for (int i = 0; i < 4; i++) gen_pool_free(pool, addr[i], 5);
    genpool_cache_destroy(cache);
    pthread_t thread;
    pthread_create(&thread, NULL, fail, pool);
    pthread_join(thread, &result);
    right &= result != NULL && gen_pool_avail(pool) == GRANULES * GRANULE;
    gen_pool_destroy(pool);
  }
  check(right, "pools, caches, tags and failures");
  free(memory);
  return conclusion();
}
