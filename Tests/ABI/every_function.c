/*
 * Calls every function of genpool.h's kernel part, and looks at what it answers. C99 and C++17.
 *
 * every_function SYSFS_ROOT: a tree with devices/soc/dma and devices/soc/sram (of_node links) and a
 * device tree below firmware/devicetree/base. One line a check, then "N passed, N failed".
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */

#include "check.h"

#include <linux/genalloc.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Misuse ------------------------------------------------------------------------------- */

struct misuses {
  int fatal, warnings;
  char last[256];
};

static struct misuses misuses;

static void on_misuse(int fatal, const char *message, void *context) {
  struct misuses *told = (struct misuses *)context;
  if (fatal) told->fatal++;
  else told->warnings++;
  snprintf(told->last, sizeof told->last, "%s", message);
}

/* How many fatal misuses there were since the last call. */
static int fatal_misuses(void) {
  int count = misuses.fatal;
  misuses.fatal = 0;
  return count;
}

static int warnings(void) {
  int count = misuses.warnings;
  misuses.warnings = 0;
  return count;
}

/* ---- The memory and the pool -------------------------------------------------------------- */

enum { ORDER = 12, GRANULE = 1 << ORDER, GRANULES = 64 };
static const phys_addr_t PHYSICAL = 0x80000000;

static unsigned char *memory;
static unsigned long start;

static struct gen_pool *new_pool(void) {
  struct gen_pool *pool = gen_pool_create(ORDER, NUMA_NO_NODE);
  if (!pool || gen_pool_add_virt(pool, start, PHYSICAL, GRANULES * GRANULE, NUMA_NO_NODE)) abort();
  return pool;
}

static void check_allocating(void) {
  struct gen_pool *pool = new_pool();
  int owned = 0;
  void *owner = &pool;
  struct genpool_data_align align;
  struct genpool_data_fixed fixed;

  check(pool->min_alloc_order == ORDER && pool->algo == gen_pool_first_fit && !pool->data && !pool->name,
        "a new pool's fields can be read");
  check(gen_pool_size(pool) == GRANULES * GRANULE && gen_pool_avail(pool) == GRANULES * GRANULE,
        "a pool is as large as what was added");
  unsigned long first = gen_pool_alloc(pool, 1);
  check(first == start, "the first fit begins at the start");
  unsigned long second = gen_pool_alloc_owner(pool, GRANULE + 1, &owner);
  check(second == start + GRANULE && owner == NULL, "gen_pool_alloc_owner: a chunk without an owner");
  struct gen_pool *bytes = gen_pool_create(0, NUMA_NO_NODE);
  check(gen_pool_add(bytes, 1, (size_t)1 << 63, NUMA_NO_NODE) == -ENOMEM, "2^63 granules take more memory than there is");
  gen_pool_destroy(bytes);
  check(gen_pool_alloc(pool, 0) == 0, "nothing is allocated for a size of 0");
  check(gen_pool_alloc(pool, (size_t)-1) == 0, "nor for the greatest size");

  align.align = 8 * GRANULE;
  unsigned long third = gen_pool_alloc_algo(pool, GRANULE, gen_pool_first_fit_align, &align);
  check(third && third % (8 * GRANULE) == 0, "gen_pool_alloc_algo: aligned");
  fixed.offset = 32 * GRANULE;
  unsigned long fourth =
      gen_pool_alloc_algo_owner(pool, GRANULE, gen_pool_fixed_alloc, &fixed, &owner);
  check(fourth == start + 32 * GRANULE, "gen_pool_alloc_algo_owner: at a fixed offset");
  check(gen_pool_alloc_algo(pool, GRANULE, gen_pool_fixed_alloc, &fixed) == 0, "but once only");

  gen_pool_free(pool, first, 1);
  gen_pool_free(pool, second, GRANULE + 1);
  gen_pool_free_owner(pool, third, GRANULE, &owner);
  gen_pool_free(pool, fourth, GRANULE);
  check(gen_pool_avail(pool) == GRANULES * GRANULE, "all that was freed is available");

  check(gen_pool_add_owner(pool, 0x10000, 0x5000, GRANULE, 0, &owned) == 0, "gen_pool_add_owner");
  check(gen_pool_alloc_owner(pool, 1, &owner) == 0x10000 && owner == &owned,
        "the newest chunk comes first, and its owner with it");
  gen_pool_free_owner(pool, 0x10000, 1, &owner);
  check(owner == &owned, "gen_pool_free_owner says whose it was");
  check(gen_pool_add(pool, 0x20000, GRANULE, NUMA_NO_NODE) == 0, "gen_pool_add");
  check(gen_pool_virt_to_phys(pool, 0x20000) == ~(phys_addr_t)0, "a chunk may have no physical address");
  check(gen_pool_virt_to_phys(pool, start + 5) == PHYSICAL + 5, "gen_pool_virt_to_phys");
  check(gen_pool_has_addr(pool, start, GRANULES * GRANULE) && !gen_pool_has_addr(pool, start, GRANULES * GRANULE + 1),
        "gen_pool_has_addr");
  check(gen_pool_add(pool, 0x20000, GRANULE, 0) == -EEXIST && genpool_error_text()[0],
        "chunks do not overlap, and it says so");
  gen_pool_destroy(pool);
  check(fatal_misuses() == 0 && warnings() == 0, "all of that is proper use");
}

/* ---- Batches ------------------------------------------------------------------------------ */

static void check_batches(void) {
  struct gen_pool *pool = new_pool();
  unsigned long addrs[GRANULES + 1], singles[GRANULES];
  struct genpool_data_align align;
  int right = 1;

  check(genpool_alloc_batch(pool, GRANULE + 1, 5, addrs) == 0, "genpool_alloc_batch");
  for (int i = 0; i < 5; i++) right = right && addrs[i] == start + 2UL * GRANULE * i;
  check(right && gen_pool_avail(pool) == (GRANULES - 10) * GRANULE, "a batch lies where single calls would");
  gen_pool_free(pool, addrs[1], GRANULE + 1);
  addrs[1] = addrs[4];
  check(genpool_free_batch(pool, GRANULE + 1, 4, addrs) == 0 &&
            gen_pool_avail(pool) == GRANULES * GRANULE,
        "genpool_free_batch, beside a single free");

  check(genpool_alloc_batch(pool, GRANULE, GRANULES + 1, addrs) == -ENOMEM && genpool_error_text()[0] &&
            gen_pool_avail(pool) == GRANULES * GRANULE,
        "more than there is: nothing is allocated");
  check(genpool_alloc_batch(pool, 0, 1, addrs) == -EINVAL && genpool_alloc_batch(pool, 1, (size_t)-1, addrs) == -EINVAL,
        "no size, and no array");
  check(genpool_alloc_batch(pool, 0, 0, addrs) == 0 && genpool_free_batch(pool, 0, 0, addrs) == 0,
        "a batch of none does nothing");

  check(genpool_alloc_batch(pool, GRANULE, GRANULES, addrs) == 0, "a batch of all");
  gen_pool_free(pool, addrs[3], GRANULE);
  gen_pool_free(pool, addrs[6], 2 * GRANULE);
  check(genpool_alloc_batch(pool, 2 * GRANULE, 2, singles) == -ENOMEM &&
            gen_pool_avail(pool) == 3 * GRANULE,
        "a batch that finds a place for one of two takes none");
  check(genpool_free_batch(pool, GRANULE, GRANULES, addrs) == -EINVAL &&
            gen_pool_avail(pool) == 3 * GRANULE,
        "a free address in a batch: nothing is freed");
  singles[0] = addrs[0], singles[1] = addrs[0];
  check(genpool_free_batch(pool, GRANULE, 2, singles) == -EINVAL && gen_pool_avail(pool) == 3 * GRANULE,
        "an address twice: nothing is freed");
  singles[1] = 1;
  check(genpool_free_batch(pool, GRANULE, 2, singles) == -EFAULT && gen_pool_avail(pool) == 3 * GRANULE,
        "an address elsewhere: nothing is freed");
  gen_pool_free(pool, start, 3 * GRANULE);
  gen_pool_free(pool, start + 4 * GRANULE, 2 * GRANULE);
  gen_pool_free(pool, start + 8 * GRANULE, (GRANULES - 8) * GRANULE);

  align.align = 4 * GRANULE;
  gen_pool_set_algo(pool, gen_pool_first_fit_align, &align);
  check(genpool_alloc_batch(pool, GRANULE, 3, addrs) == 0 && addrs[0] % align.align == 0 &&
            addrs[1] == addrs[0] + align.align && addrs[2] == addrs[1] + align.align,
        "a batch has the pool's algorithm");
  check(genpool_free_batch(pool, GRANULE, 3, addrs) == 0, "and is freed like any other");
  gen_pool_destroy(pool);
  check(fatal_misuses() == 0 && warnings() == 0, "all of that is proper use");
}

static void check_dma(void) {
  struct gen_pool *pool = new_pool();
  struct genpool_data_align align = {4 * GRANULE};
  dma_addr_t dma = 7;
  memset(memory, 0xa5, GRANULES * GRANULE);
  void *block = gen_pool_dma_alloc(pool, 100, &dma);
  check(block == memory && dma == PHYSICAL, "gen_pool_dma_alloc");
  block = gen_pool_dma_alloc_algo(pool, 100, &dma, gen_pool_first_fit_align, &align);
  check(block && dma % (4 * GRANULE) == 0, "gen_pool_dma_alloc_algo");
  block = gen_pool_dma_alloc_align(pool, 100, NULL, 16 * GRANULE);
  check(block && (unsigned long)block % (16 * GRANULE) == 0, "gen_pool_dma_alloc_align");
  check(memory[0] == 0xa5, "none of them touches the memory");
  unsigned char *zeroed = (unsigned char *)gen_pool_dma_zalloc(pool, 100, &dma);
  check(zeroed && zeroed[0] == 0 && zeroed[99] == 0 && zeroed[100] == 0xa5,
        "gen_pool_dma_zalloc zeroes what was asked for and nothing else");
  zeroed = (unsigned char *)gen_pool_dma_zalloc_algo(pool, 3, &dma, gen_pool_best_fit, NULL);
  check(zeroed && zeroed[2] == 0 && zeroed[3] == 0xa5, "gen_pool_dma_zalloc_algo");
  zeroed = (unsigned char *)gen_pool_dma_zalloc_align(pool, 9, &dma, 2 * GRANULE);
  check(zeroed && zeroed[8] == 0 && zeroed[9] == 0xa5 && dma % (2 * GRANULE) == 0,
        "gen_pool_dma_zalloc_align");
  dma = 7;
  check(!gen_pool_dma_alloc(pool, GRANULES * GRANULE, &dma) && dma == 7, "a failure leaves *dma alone");
  check(!gen_pool_dma_alloc_align(pool, 1, &dma, 0) && !gen_pool_dma_alloc_align(pool, 1, &dma, -1),
        "no alignment of 0 or less");
  check(!gen_pool_dma_alloc_algo(NULL, 1, &dma, gen_pool_best_fit, NULL) &&
            !gen_pool_dma_alloc_align(NULL, 1, &dma, 1) &&
            !gen_pool_dma_zalloc_algo(NULL, 1, &dma, gen_pool_best_fit, NULL) &&
            !gen_pool_dma_zalloc_align(NULL, 1, &dma, 1),
        "no memory from no pool");
  gen_pool_destroy(pool);
  check(fatal_misuses() == 1, "a pool in use cannot be destroyed");
  check(gen_pool_avail(pool) < GRANULES * GRANULE, "and lives on");
  for (unsigned long index = 0; index < GRANULES; index++) gen_pool_free(pool, start + index * GRANULE, 1);
  check(fatal_misuses() == GRANULES - 6, "nor can be freed what is free");
  gen_pool_destroy(pool);
}

/* ---- Algorithms --------------------------------------------------------------------------- */

struct own_data {
  unsigned long *map;
  unsigned long size, start_addr, answer;
  unsigned int nr, calls;
  struct gen_pool *pool;
};

/* From the top down. */
static unsigned long last_fit(unsigned long *map, unsigned long size, unsigned long from, unsigned int nr,
                              void *data, struct gen_pool *pool, unsigned long start_addr) {
  struct own_data *own = (struct own_data *)data;
  own->map = map;
  own->size = size;
  own->start_addr = start_addr;
  own->nr = nr;
  own->pool = pool;
  own->calls++;
  for (unsigned long index = size - nr + 1; index-- > from;)
    if (gen_pool_first_fit(map, size, index, nr, NULL, pool, start_addr) == index) return index;
  return size;
}

static unsigned long insist(unsigned long *map, unsigned long size, unsigned long from, unsigned int nr,
                            void *data, struct gen_pool *pool, unsigned long start_addr) {
  (void)map, (void)size, (void)from, (void)nr, (void)pool, (void)start_addr;
  return ((struct own_data *)data)->answer;
}

/* Whether the bits behind the map are 0; finds nothing. */
static unsigned long look_behind(unsigned long *map, unsigned long size, unsigned long from, unsigned int nr,
                                 void *data, struct gen_pool *pool, unsigned long start_addr) {
  (void)from, (void)nr, (void)pool, (void)start_addr;
  *(int *)data = map[size / 64] >> size % 64 == 0;
  return size;
}

static void check_algorithms(void) {
  unsigned long map[2] = {0x0f, 0}; /* 4 allocated, 124 free */
  struct genpool_data_align align = {8 * GRANULE};
  struct genpool_data_fixed fixed = {6 * GRANULE};
  struct own_data own;
  memset(&own, 0, sizeof own);
  struct gen_pool *pool = new_pool();
  check(gen_pool_first_fit(map, 128, 0, 3, NULL, pool, 0) == 4, "gen_pool_first_fit on any map");
  check(gen_pool_first_fit(map, 128, 0, 125, NULL, pool, 0) >= 128, "and when nothing fits");
  check(gen_pool_first_fit_align(map, 128, 0, 3, &align, pool, 0) == 8, "gen_pool_first_fit_align");
  check(gen_pool_first_fit_align(map, 128, 0, 3, &align, pool, 3 * GRANULE) == 5,
        "which counts from the chunk's address");
  check(gen_pool_first_fit_order_align(map, 128, 0, 3, NULL, pool, 0) == 4, "gen_pool_first_fit_order_align");
  map[1] = 0x10;
  check(gen_pool_best_fit(map, 128, 0, 3, NULL, pool, 0) == 69, "gen_pool_best_fit");
  check(gen_pool_fixed_alloc(map, 128, 0, 3, &fixed, pool, 0) == 6, "gen_pool_fixed_alloc");

  /* Only its first half can be read: who copies a map, or reads on, dies here. */
  enum { PAGE = 4096, HALF = 8 * PAGE };
  unsigned long *half = (unsigned long *)mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (half == MAP_FAILED || mprotect(half + PAGE / 8, PAGE, PROT_NONE)) abort();
  half[0] = 1;
  check(gen_pool_first_fit(half, 2 * HALF, 0, 3, NULL, pool, 0) == 1 &&
            gen_pool_first_fit_align(half, 2 * HALF, 0, 3, &align, pool, 0) == 8 &&
            gen_pool_first_fit_order_align(half, 2 * HALF, 1, 3, NULL, pool, 0) == 4 &&
            gen_pool_fixed_alloc(half, 2 * HALF, 0, 3, &fixed, pool, 0) == 6,
        "a built-in reads of a map as much as it searches");
  munmap(half, 2 * PAGE);

  fixed.offset++;
  check(gen_pool_fixed_alloc(map, 128, 0, 3, &fixed, pool, 0) >= 128 && warnings() == 1,
        "which warns of an offset inside a granule");
  check(gen_pool_alloc_algo(pool, 1, gen_pool_fixed_alloc, &fixed) == 0 && warnings() == 1,
        "in a pool as well");

  gen_pool_set_algo(pool, gen_pool_first_fit_align, &align);
  check(pool->algo == gen_pool_first_fit_align && pool->data == &align, "gen_pool_set_algo can be read");
  gen_pool_alloc(pool, 1);
  check(gen_pool_alloc(pool, 1) % (8 * GRANULE) == 0, "and is followed");
  align.align = 1;
  check(gen_pool_alloc(pool, 1) == start + GRANULE, "data are looked at in each call");
  gen_pool_set_algo(pool, NULL, NULL);
  check(pool->algo == gen_pool_first_fit, "no algorithm is the first fit");

  gen_pool_set_algo(pool, last_fit, &own);
  unsigned long top = gen_pool_alloc(pool, 2 * GRANULE);
  check(top == start + (GRANULES - 2) * GRANULE, "an own algorithm decides");
  check(own.size == GRANULES && own.nr == 2 && own.pool == pool && own.start_addr == start,
        "it is told what the kernel tells it");
  check(own.map[0] == ((1ul << 62 | 1ul << 63) | 0x103), "its map is the real one");
  unsigned long free_granules = GRANULES - 5, got = 0;
  gen_pool_set_algo(pool, gen_pool_first_fit, NULL);
  for (unsigned long addr; (addr = gen_pool_alloc(pool, 1)); got++) {
    if (addr >= top || addr == start || addr == start + GRANULE || addr == start + 8 * GRANULE) break;
  }
  check(got == free_granules, "the pool knows what an own algorithm allocated");

  struct gen_pool *odd = gen_pool_create(ORDER, NUMA_NO_NODE);
  int is_zero = 0;
  if (!odd || gen_pool_add_virt(odd, start, PHYSICAL, 3 * GRANULE, NUMA_NO_NODE)) abort();
  check(gen_pool_alloc_algo(odd, GRANULE, look_behind, &is_zero) == 0 && is_zero,
        "the bits behind the map are 0");
  check(gen_pool_alloc(odd, 3 * GRANULE) == start && gen_pool_alloc(odd, 1) == 0,
        "and are no granules afterwards");
  gen_pool_free(odd, start, 3 * GRANULE);
  gen_pool_destroy(odd);

  own.answer = GRANULES - 1;
  gen_pool_free(pool, top, 2 * GRANULE);
  check(gen_pool_alloc_algo(pool, 2 * GRANULE, insist, &own) == 0 && fatal_misuses() == 1,
        "an own algorithm may not leave the map");
  own.answer = 0;
  check(gen_pool_alloc_algo(pool, GRANULE, insist, &own) == 0 && fatal_misuses() == 1,
        "nor insist on what is allocated");
  gen_pool_free(pool, start, (GRANULES - 2) * GRANULE);
  gen_pool_destroy(pool);
  check(fatal_misuses() == 0, "one free may span many allocations");
}

/* ---- Chunks ------------------------------------------------------------------------------- */

struct walk {
  int chunks, right;
  unsigned long allocated;
};

static void visit(struct gen_pool *pool, struct gen_pool_chunk *chunk, void *data) {
  struct walk *walk = (struct walk *)data;
  if (walk->chunks++ == 0) {
    walk->right = chunk->start_addr == 0x10000 && chunk->end_addr == 0x10000 + GRANULE - 1 &&
                  chunk->phys_addr == 0x5000 && chunk->owner == walk &&
                  atomic_long_read(&chunk->avail) == GRANULE;
    walk->allocated = gen_pool_alloc(pool, 1);
    walk->right &= (chunk->bits[0] & 1) == 1;
  }
}

static void check_chunks(void) {
  struct gen_pool *pool = new_pool();
  struct walk walk = {0, 0, 0};
  gen_pool_add_owner(pool, 0x10000, 0x5000, GRANULE, 0, &walk);
  gen_pool_for_each_chunk(pool, visit, &walk);
  check(walk.chunks == 2 && walk.right, "gen_pool_for_each_chunk shows the fields, newest first");
  check(walk.allocated == 0x10000, "its function may use the pool");
  gen_pool_free(pool, walk.allocated, 1);
  gen_pool_destroy(pool);
}

/* ---- Devices ------------------------------------------------------------------------------ */

static void check_devices(const char *root) {
  struct device *sram = NULL, *again = NULL, *dma = NULL;
  struct device_node *node = NULL, *user = NULL;
  check(genpool_device_get(root, "devices/none", &sram) == -ENODEV && genpool_error_text()[0],
        "no device where there is none");
  check(genpool_device_get(root, "devices/soc/sram", &sram) == 0, "a device by its path");
  check(genpool_device_get(root, "bus/platform/devices/sram", &again) == 0, "and by another");
  struct gen_pool *unnamed = devm_gen_pool_create(sram, ORDER, NUMA_NO_NODE, NULL);
  struct gen_pool *named = devm_gen_pool_create(again, ORDER, NUMA_NO_NODE, "buffers@100");
  check(!IS_ERR_OR_NULL(unnamed) && !IS_ERR_OR_NULL(named) && !strcmp(named->name, "buffers@100"),
        "devm_gen_pool_create");
  struct gen_pool *twice = devm_gen_pool_create(sram, ORDER, NUMA_NO_NODE, "buffers@100");
  check(IS_ERR(twice) && PTR_ERR(twice) == -EINVAL, "a device has one pool of a name");
  check(gen_pool_get(again, NULL) == unnamed && gen_pool_get(sram, "buffers@100") == named &&
            gen_pool_get(sram, "others") == NULL,
        "gen_pool_get");
  gen_pool_destroy(named);
  check(fatal_misuses() == 1 && gen_pool_get(sram, "buffers@100") == named, "it ends with its device only");

  check(genpool_node_get(root, "/soc/none", &node) == -ENOENT, "no node where there is none");
  check(genpool_node_get(root, "/soc/dma@10000", &user) == 0, "a node by its path");
  check(of_gen_pool_get(user, "sram", 0) == unnamed, "of_gen_pool_get: a node that has a device");
  check(of_gen_pool_get(user, "sram", 1) == named, "one that has not: by its name in the parent's device");
  struct gen_pool *labelled = devm_gen_pool_create(sram, ORDER, NUMA_NO_NODE, "descriptors");
  check(of_gen_pool_get(user, "sram", 2) == labelled, "or by its label");
  check(of_gen_pool_get(user, "sram", 4) == NULL && of_gen_pool_get(user, "sram", -1) == NULL &&
            of_gen_pool_get(user, "other", 0) == NULL,
        "NULL past the end of the property, and without it");
  check(devm_gen_pool_create(sram, ORDER, NUMA_NO_NODE, "") != NULL && of_gen_pool_get(user, "sram", 3) == NULL,
        "an empty label finds no pool, not even one without a name");
  genpool_node_put(user);

  gen_pool_add_virt(unnamed, start, PHYSICAL, GRANULE, NUMA_NO_NODE);
  unsigned long addr = gen_pool_alloc(unnamed, 1);
  check(genpool_device_put(again) == 0 && gen_pool_get(sram, NULL) == unnamed,
        "pools stay while there is a handle");
  check(genpool_device_put(sram) == -EBUSY && gen_pool_get(sram, NULL) == unnamed,
        "and while they are in use");
  gen_pool_free(unnamed, addr, 1);
  genpool_chunk_drain(unnamed, start);
  check(genpool_device_put(sram) == 0, "the last handle ends them, drained or not");
  check(genpool_device_get(root, "devices/soc/sram", &dma) == 0 && gen_pool_get(dma, NULL) == NULL,
        "nothing is left of them");
  genpool_device_put(dma);
  check(fatal_misuses() == 0, "all of that is proper use");
}

/* ---- Threads ------------------------------------------------------------------------------ */

/* Marks what it gets, and looks whether the mark is still there when it gives it back. */
static void *churn(void *data) {
  struct gen_pool *pool = (struct gen_pool *)data;
  long intact = 1;
  for (size_t round = 0; round < 20000; round++) {
    unsigned long *block = (unsigned long *)gen_pool_dma_alloc(pool, 1 + round % 3 * GRANULE, NULL);
    if (!block) continue;
    *block = (unsigned long)&intact ^ round;
    gen_pool_avail(pool);
    intact &= *block == ((unsigned long)&intact ^ round);
    gen_pool_free(pool, (unsigned long)block, 1 + round % 3 * GRANULE);
  }
  return (void *)intact;
}

static void check_threads(void) {
  struct gen_pool *pool = new_pool();
  pthread_t threads[4];
  int intact = 0;
  for (int i = 0; i < 4; i++)
    if (pthread_create(&threads[i], NULL, churn, pool)) abort();
  for (int i = 0; i < 4; i++) {
    void *result = NULL;
    pthread_join(threads[i], &result);
    intact += result != NULL;
  }
  check(intact == 4 && gen_pool_avail(pool) == GRANULES * GRANULE, "threads get memory of their own");
  gen_pool_destroy(pool);
}

/* ---- Caches ------------------------------------------------------------------------------- */

static uint64_t cached(struct gen_pool *pool) {
  struct genpool_statistics statistics;
  memset(&statistics, 0, sizeof statistics);
  statistics.size = sizeof statistics;
  return genpool_pool_statistics(pool, &statistics) == 0 ? statistics.cached : ~(uint64_t)0;
}

/* Churns on a cache of its own. */
static void *churn_cache(void *data) {
  struct gen_pool *pool = (struct gen_pool *)data;
  struct genpool_cache *cache = NULL;
  long intact = genpool_cache_create(pool, 0, 8 * GRANULE, &cache) == 0;
  for (size_t round = 0; round < 20000; round++) {
    unsigned long *block = (unsigned long *)genpool_cache_alloc(cache, 1 + round % 3 * GRANULE);
    if (!block) continue;
    *block = (unsigned long)&intact ^ round;
    gen_pool_avail(pool);
    intact &= *block == ((unsigned long)&intact ^ round);
    genpool_cache_free(cache, (unsigned long)block, 1 + round % 3 * GRANULE);
  }
  genpool_cache_destroy(cache);
  return (void *)intact;
}

static void check_caches(void) {
  struct gen_pool *pool = new_pool();
  struct genpool_cache *cache = NULL, *other = NULL;
  check(genpool_cache_create(pool, 4 * GRANULE, 16 * GRANULE, &cache) == 0 && cache, "genpool_cache_create");
  unsigned long one = genpool_cache_alloc(cache, 100), two = genpool_cache_alloc(cache, GRANULE);
  check(one && two && one != two && gen_pool_has_addr(pool, one, 100), "genpool_cache_alloc");
  check(genpool_cache_alloc(cache, 0) == 0 && genpool_cache_alloc(cache, (size_t)-1) == 0,
        "as gen_pool_alloc: nothing for sizes of 0, and too large");
  unsigned long large = genpool_cache_alloc(cache, 5 * GRANULE);
  genpool_cache_free(cache, large, 5 * GRANULE);
  genpool_cache_free(cache, one, 100);
  check(fatal_misuses() == 0 && cached(pool) == 3 * GRANULE, "what is free is held, and counted");
  check(genpool_cache_alloc(cache, 100) == one, "genpool_cache_free: it comes again");
  genpool_cache_free(cache, one, 100);
  genpool_cache_free(cache, one, 100);
  gen_pool_free(pool, one, 100);
  check(fatal_misuses() == 2, "it can be freed once, by the cache or the pool");
  gen_pool_free(pool, two, GRANULE);
  genpool_cache_free(cache, two, GRANULE);
  check(fatal_misuses() == 1, "the pool frees what the cache handed out, once as well");
  two = gen_pool_alloc(pool, GRANULE);
  genpool_cache_free(cache, two, GRANULE);
  check(fatal_misuses() == 0, "and the cache what the pool did");
  gen_pool_destroy(pool);
  check(fatal_misuses() == 1, "a pool of which a cache holds something cannot be destroyed");
  check(genpool_cache_flush(cache) == 0 && cached(pool) == 0 && gen_pool_avail(pool) == GRANULES * GRANULE,
        "genpool_cache_flush");
  one = genpool_cache_alloc(cache, 1);
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    int right = genpool_cache_alloc(cache, 1) == 0 && fatal_misuses() == 1;
    genpool_cache_free(cache, one, 1);
    right &= fatal_misuses() == 1;
    right &= genpool_cache_flush(cache) == -EPERM && genpool_cache_create(pool, 0, 0, &other) == -EPERM;
    genpool_cache_destroy(cache);
    _exit(right && fatal_misuses() == 0 ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a forked child gets nothing from its parent's cache");
  genpool_cache_destroy(cache);
  genpool_cache_destroy(NULL);
  gen_pool_free(pool, one, 1);
  pthread_t threads[4];
  int intact = 0;
  for (int i = 0; i < 4; i++)
    if (pthread_create(&threads[i], NULL, churn_cache, pool)) abort();
  for (int i = 0; i < 4; i++) {
    void *result = NULL;
    pthread_join(threads[i], &result);
    intact += result != NULL;
  }
  check(intact == 4 && gen_pool_avail(pool) == GRANULES * GRANULE,
        "threads with caches get memory of their own, and genpool_cache_destroy gives it back");
  gen_pool_destroy(pool);
  check(fatal_misuses() == 0, "all of that is proper use");
}

/* ---- fork() ------------------------------------------------------------------------------- */

static void check_fork(void) {
  struct gen_pool *pool = new_pool();
  unsigned long addr = gen_pool_alloc(pool, 1);
  int status = 0;
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    int right = gen_pool_alloc(pool, 1) == 0 && fatal_misuses() == 1;
    gen_pool_free(pool, addr, 1);
    right &= fatal_misuses() == 1;
    gen_pool_destroy(pool);
    right &= fatal_misuses() == 1;
    right &= gen_pool_avail(pool) == (GRANULES - 1) * GRANULE && gen_pool_has_addr(pool, start, 1);
    right &= genpool_alloc_batch(pool, 1, 1, &addr) == -EPERM && fatal_misuses() == 1;
    struct gen_pool *own = new_pool();
    unsigned long mine = gen_pool_alloc(own, 1);
    right &= mine == start && fatal_misuses() == 0;
    _exit(right ? 0 : 1);
  }
  waitpid(child, &status, 0);
  check(WIFEXITED(status) && WEXITSTATUS(status) == 0,
        "a forked child may look at its parent's pools, and has pools of its own");
  gen_pool_free(pool, addr, 1);
  gen_pool_destroy(pool);
}

int main(int count, char **arguments) {
  if (count > 1 && !strcmp(arguments[1], "--misuse")) {
    struct gen_pool *pool = gen_pool_create(ORDER, NUMA_NO_NODE);
    gen_pool_free(pool, 0x1000, 1); /* aborts */
    return 0;
  }
  if (count != 2) return 2;
  memory = (unsigned char *)aligned_alloc(GRANULES * GRANULE, GRANULES * GRANULE);
  start = (unsigned long)memory;
  genpool_set_misuse_handler(on_misuse, &misuses);
  check_allocating();
  check_batches();
  check_dma();
  check_algorithms();
  check_chunks();
  check_devices(arguments[1]);
  check_threads();
  check_caches();
  check_fork();
  check(gen_pool_create(64, NUMA_NO_NODE) == NULL && warnings() == 1, "no granule of 2^64 bytes");
  check(strcmp(genpool_version(), "") != 0, "the library has a version");
  genpool_set_misuse_handler(NULL, NULL);
  free(memory);
  return conclusion();
}
