/*
 * Without memory: the first, second, … of libgenpool's own allocations fails in each call, which must
 * return NULL or -ENOMEM and leave a pool that works. C99.
 *
 * calloc here stands before the C library's for the library too. What Swift's runtime allocates comes by
 * malloc and posix_memalign, and ends the process if it fails (genpool(7)): those are counted, not failed.
 */
#include "check.h"

#include <errno.h>
#include <genpool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_malloc(size_t size);

static long calls, failing, swift;

void *calloc(size_t count, size_t size) {
  if (failing && ++calls == failing) return NULL;
  return __libc_calloc(count, size);
}

void *malloc(size_t size) {
  swift++;
  return __libc_malloc(size);
}

enum { ORDER = 12, GRANULE = 1 << ORDER, GRANULES = 4096 };

static const unsigned long START = 1 << 24;

/* Whether all of a pool's memory can be had, and given back. */
static int works(struct gen_pool *pool) {
  unsigned long first = gen_pool_alloc(pool, GRANULE), rest;
  if (first != START || gen_pool_avail(pool) != (GRANULES - 1) * GRANULE) return 0;
  rest = gen_pool_alloc(pool, (GRANULES - 1) * GRANULE);
  if (rest != START + GRANULE || gen_pool_avail(pool) != 0) return 0;
  gen_pool_free(pool, START, GRANULES * GRANULE);
  return gen_pool_avail(pool) == GRANULES * GRANULE;
}

/* Each call with its k-th allocation failing, until it has none that fails. */
static void fail_each(void) {
  long most = 0;
  int right = 1, failures = 0;
  for (failing = 1; right; failing++) {
    calls = 0;
    struct gen_pool *pool = gen_pool_create(ORDER, -1);
    if (calls < failing) {
      gen_pool_destroy(pool);
      break;
    }
    right = !pool && genpool_error_text()[0];
    failures++;
  }
  check(right && failures > 0, "gen_pool_create: NULL for each allocation that fails");
  failures = 0;
  for (long number = 1; right; number++) {
    failing = 0;
    struct gen_pool *pool = gen_pool_create(ORDER, -1);
    failing = number, calls = 0;
    int result = gen_pool_add(pool, START, GRANULES * GRANULE, -1);
    int is_over = calls < failing;
    failing = 0;
    if (!is_over) {
      failures++;
      right = result == -ENOMEM && gen_pool_size(pool) == 0 &&
              gen_pool_add(pool, START, GRANULES * GRANULE, -1) == 0;
    }
    right = right && works(pool);
    gen_pool_destroy(pool);
    if (is_over) break;
  }
  check(right && failures > 0, "gen_pool_add: -ENOMEM for each, nothing is added, and it can be tried again");
  /* What an algorithm builds at its first calls may be had or not: the answers are the same. */
  genpool_algo_t algorithms[] = {gen_pool_best_fit, gen_pool_first_fit_align, gen_pool_first_fit_order_align};
  struct genpool_data_align align = {4 * GRANULE};
  for (size_t i = 0; i < 3; i++) {
    for (long number = 1; right; number++) {
      struct gen_pool *pool = gen_pool_create(ORDER, -1);
      gen_pool_add(pool, START, GRANULES * GRANULE, -1);
      failing = number, calls = 0;
      for (unsigned long round = 0; right && round < 300; round++)
        right = gen_pool_alloc_algo(pool, GRANULE, algorithms[i], &align) ==
                START + round * (i == 1 ? 4 * GRANULE : GRANULE);
      if (calls > most) most = calls;
      int is_over = calls < failing;
      failing = 0;
      if (i == 1)
        for (unsigned long round = 0; round < 300; round++)
          gen_pool_free(pool, START + round * 4 * GRANULE, GRANULE);
      else gen_pool_free(pool, START, 300 * GRANULE);
      right = right && works(pool);
      gen_pool_destroy(pool);
      if (is_over) break;
    }
  }
  printf("an algorithm's first 300 calls make %ld allocations\n", most);
  check(right, "algorithms find the same places without memory for what speeds them up");
  struct gen_pool *pool = gen_pool_create(ORDER, -1);
  struct genpool_cache *cache = NULL;
  gen_pool_add(pool, START, GRANULES * GRANULE, -1);
  failures = 0;
  for (long number = 1; right; number++) {
    failing = number, calls = 0;
    int result = genpool_cache_create(pool, 0, 0, &cache);
    unsigned long addr = result == 0 ? genpool_cache_alloc(cache, 1) : 0;
    int is_over = calls < failing;
    failing = 0;
    right = (result == 0 || result == -ENOMEM) && (result != 0 || !is_over || addr);
    if (result == 0) {
      if (addr) genpool_cache_free(cache, addr, 1);
      genpool_cache_destroy(cache);
    } else failures++;
    right = right && works(pool);
    if (is_over) break;
  }
  check(right && failures > 0, "genpool_cache_create: -ENOMEM, and the pool is whole");
  failures = 0;
  unsigned long addr = gen_pool_alloc(pool, GRANULE);
  for (long number = 1; right; number++) {
    failing = number, calls = 0;
    int result = genpool_tag(pool, addr, GRANULE, 7);
    int is_over = calls < failing;
    failing = 0;
    right = result == (is_over ? 0 : -ENOMEM);
    failures += result != 0;
    if (is_over) break;
  }
  check(right && failures > 0, "genpool_tag: -ENOMEM");
  gen_pool_free(pool, addr, GRANULE);
  gen_pool_destroy(pool);
}

/* The map of a large chunk is mapped, for which address space may be missing. */
static void limit_address_space(void) {
  struct rlimit old, limit;
  struct gen_pool *pool = gen_pool_create(0, -1);
  getrlimit(RLIMIT_AS, &old);
  limit = old;
  limit.rlim_cur = (rlim_t)2 << 30;
  setrlimit(RLIMIT_AS, &limit);
  check(gen_pool_add(pool, START, (size_t)1 << 40, -1) == -ENOMEM && genpool_error_text()[0] &&
            gen_pool_size(pool) == 0,
        "a map of 128 GiB in 2 GiB of address space is -ENOMEM");
  check(gen_pool_add(pool, START, (size_t)1 << 24, -1) == 0 && gen_pool_alloc(pool, 1) == START,
        "and a smaller one has room");
  gen_pool_free(pool, START, 1);
  setrlimit(RLIMIT_AS, &old);
  gen_pool_destroy(pool);
}

int main(void) {
  fail_each();
  limit_address_space();
  swift = 0;
  struct gen_pool *pool = gen_pool_create(ORDER, -1);
  long create = swift;
  gen_pool_add(pool, START, GRANULES * GRANULE, -1);
  long add = swift - create;
  swift = 0;
  unsigned long addr = gen_pool_alloc(pool, 1);
  gen_pool_free(pool, addr, 1);
  check(swift == 0, "an allocation and a free take nothing from Swift's heap");
  printf("from Swift's heap: gen_pool_create %ld, gen_pool_add %ld\n", create, add);
  gen_pool_destroy(pool);
  return conclusion();
}
