/*
 * Records what goes through pools: record DIRECTORY writes whole.gpt, found.gpt and partial.gpt there,
 * which Tests/ABI/run replays.
 */
#include "check.h"

#include <errno.h>
#include <genpool.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { ORDER = 12, GRANULE = 1 << ORDER, GRANULES = 256 };

static unsigned char *memory;
static const char *directory;

static const char *file(const char *name) {
  static char path[4096];
  snprintf(path, sizeof path, "%s/%s", directory, name);
  return path;
}

static unsigned long last_fit(unsigned long *map, unsigned long size, unsigned long from, unsigned int nr,
                              void *data, struct gen_pool *pool, unsigned long start_addr) {
  for (unsigned long index = size - nr + 1; index-- > from;)
    if (gen_pool_first_fit(map, size, index, nr, data, pool, start_addr) == index) return index;
  return size;
}

static int misuses;

static void count_misuse(int fatal, const char *message, void *context) {
  (void)fatal, (void)message, (void)context;
  misuses++;
}

/* Calls of every kind that has a record. */
static void use(struct gen_pool *pool, unsigned seed) {
  struct {
    unsigned long addr;
    size_t size;
  } held[64] = {{0, 0}};
  struct genpool_data_align align = {8 * GRANULE};
  struct genpool_data_fixed fixed = {100 * GRANULE};
  unsigned long batch[4];
  dma_addr_t dma;
  for (int round = 0; round < 3000; round++) {
    seed = seed * 1664525u + 1013904223u;
    size_t slot = seed >> 26, size = 1 + (seed >> 12 & 15) * GRANULE;
    if (held[slot].addr) {
      gen_pool_free(pool, held[slot].addr, held[slot].size);
      held[slot].addr = 0;
      continue;
    }
    unsigned long addr = 0;
    switch (seed >> 8 & 7) {
    case 0: addr = gen_pool_alloc_algo(pool, size, gen_pool_best_fit, NULL); break;
    case 1: addr = gen_pool_alloc_algo(pool, size, gen_pool_first_fit_align, &align); break;
    case 2: addr = gen_pool_alloc_algo(pool, size, gen_pool_fixed_alloc, &fixed); break;
    case 3: addr = gen_pool_alloc_algo(pool, size, last_fit, NULL); break;
    case 4: addr = (unsigned long)gen_pool_dma_zalloc(pool, size, &dma); break;
    case 5: addr = (unsigned long)gen_pool_dma_alloc_align(pool, size, &dma, 2 * GRANULE); break;
    case 6:
      if (genpool_alloc_batch(pool, size, 4, batch) == 0) genpool_free_batch(pool, size, 4, batch);
      break;
    default: addr = gen_pool_alloc(pool, size);
    }
    held[slot].addr = addr;
    held[slot].size = size;
  }
  for (size_t slot = 0; slot < 64; slot++)
    if (held[slot].addr) gen_pool_free(pool, held[slot].addr, held[slot].size);
}

int main(int count, char **arguments) {
  if (count != 2) return 64;
  directory = arguments[1];
  memory = (unsigned char *)aligned_alloc(GRANULE, GRANULES * GRANULE);
  unsigned long start = (unsigned long)memory;
  genpool_set_misuse_handler(count_misuse, NULL);

  struct gen_pool *pool = gen_pool_create(ORDER, -1);
  check(genpool_record(pool, file("whole.gpt")) == 0, "genpool_record");
  check(genpool_record(pool, file("other.gpt")) == -EALREADY, "a pool has one record");
  gen_pool_add_owner(pool, start, 0x80000000, GRANULES * GRANULE, -1, &misuses);
  use(pool, 1);
  gen_pool_free(pool, start, GRANULE);
  check(misuses == 1, "misuse is told as ever");
  gen_pool_destroy(pool);

  pool = gen_pool_create(ORDER, -1);
  gen_pool_add(pool, start, 100 * GRANULE, -1);
  gen_pool_add(pool, start + 100 * GRANULE, (GRANULES - 100) * GRANULE, -1);
  unsigned long addr = gen_pool_alloc(pool, 17 * GRANULE), other = gen_pool_alloc(pool, 1);
  gen_pool_free(pool, addr, 17 * GRANULE);
  check(genpool_record(pool, file("whole.gpt")) == -EEXIST && strstr(genpool_error_text(), "whole.gpt"),
        "a file that is there is left alone");
  check(genpool_record(pool, file("found.gpt")) == 0, "a pool in use can be recorded");
  for (addr = 0; gen_pool_alloc(pool, 3 * GRANULE);) addr++;
  check(addr > 80, "to the last place");
  check(genpool_record_end(pool) == 0, "genpool_record_end: all is in it");
  check(genpool_record_end(pool) == -ENOENT, "once");
  for (unsigned long granule = 0; granule < GRANULES; granule++) gen_pool_free(pool, start + granule * GRANULE, 1);
  (void)other;

  check(genpool_record(pool, file("partial.gpt")) == 0, "and again");
  addr = gen_pool_alloc(pool, 1);
  struct genpool_cache *cache = NULL;
  genpool_cache_create(pool, 0, 0, &cache);
  gen_pool_free(pool, addr, 1);
  check(genpool_record_end(pool) == -EOPNOTSUPP && strstr(genpool_error_text(), "genpool_cache_create"),
        "a record that a call ended is partial, and says by which");
  check(genpool_record(pool, file("cached.gpt")) == -EOPNOTSUPP, "a pool that had a cache is not recorded");
  genpool_cache_destroy(cache);
  gen_pool_destroy(pool);

  pool = gen_pool_create(ORDER, -1);
  gen_pool_add(pool, start, GRANULES * GRANULE, -1);
  check(genpool_record(pool, file("full.gpt")) == 0, "a record on a disk that will be full");
  struct rlimit limit, old;
  getrlimit(RLIMIT_FSIZE, &old);
  limit = old;
  limit.rlim_cur = 512;
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &limit);
  use(pool, 2);
  int result = genpool_record_end(pool);
  setrlimit(RLIMIT_FSIZE, &old);
  check(result == -EFBIG && strstr(genpool_error_text(), "partial"),
        "is partial, and says why");
  gen_pool_destroy(pool);
  free(memory);
  return conclusion();
}
