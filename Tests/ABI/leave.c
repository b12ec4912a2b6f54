/*
 * Functions that the library calls and that leave it by longjmp, where genpool.h allows that: what they
 * leave is whole.
 */
#include "check.h"

#include <genpool.h>
#include <pthread.h>
#include <setjmp.h>

enum { ORDER = 12, GRANULE = 1 << ORDER, GRANULES = 64 };

static jmp_buf out;

static void leave_chunk(struct gen_pool *pool, struct gen_pool_chunk *chunk, void *data) {
  (void)pool, (void)chunk, (void)data;
  longjmp(out, 1);
}

static void leave_holding(unsigned long addr, size_t size, uint32_t tag, void *data) {
  (void)addr, (void)size, (void)tag, (void)data;
  longjmp(out, 2);
}

static void leave_misuse(int fatal, const char *message, void *context) {
  (void)fatal, (void)message, (void)context;
  longjmp(out, 3);
}

/* In another thread, to which a lock that was left would matter most. */
static void *use(void *data) {
  struct gen_pool *pool = (struct gen_pool *)data;
  unsigned long addr = gen_pool_alloc(pool, 3 * GRANULE);
  if (!addr) return NULL;
  gen_pool_free(pool, addr, 3 * GRANULE);
  return data;
}

static int works(struct gen_pool *pool) {
  pthread_t thread;
  void *result = NULL;
  if (pthread_create(&thread, NULL, use, pool)) return 0;
  pthread_join(thread, &result);
  return result == pool;
}

int main(void) {
  struct gen_pool *pool = gen_pool_create(ORDER, -1);
  gen_pool_add(pool, 1 << 24, GRANULES * GRANULE, -1);
  gen_pool_alloc(pool, GRANULE);
  for (int round = 0; round < 100; round++)
    if (setjmp(out) == 0) gen_pool_for_each_chunk(pool, leave_chunk, NULL);
  check(works(pool), "gen_pool_for_each_chunk may be left");
  for (int round = 0; round < 100; round++)
    if (setjmp(out) == 0) genpool_for_each_holding(pool, leave_holding, NULL);
  check(works(pool), "genpool_for_each_holding may be left");
  genpool_set_misuse_handler(leave_misuse, NULL);
  for (int round = 0; round < 100; round++)
    if (setjmp(out) == 0) gen_pool_free(pool, (1 << 24) + GRANULE, GRANULE);
  for (int round = 0; round < 100; round++)
    if (setjmp(out) == 0) gen_pool_destroy(pool);
  check(works(pool), "a misuse handler may be left");
  gen_pool_free(pool, 1 << 24, GRANULE);
  genpool_set_misuse_handler(NULL, NULL);
  gen_pool_destroy(pool);
  return conclusion();
}
