/*
 * Divides an NVMe controller's memory buffer as a driver does: a submission queue, a PRP list and data,
 * each where the controller can find it. nvme-memory 0000:01:00.0 [RULE-TO-BREAK], on the machine or below
 * $GENPOOL_SYSFS_ROOT. cc nvme-memory.c $(pkg-config --cflags --libs genpool)
 */
#include <genpool.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PAGE = 4096, ENTRIES = 64, SQ_ENTRY = 64, BLOCKS = 8 };

static int fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, genpool_error_text());
  return 1;
}

int main(int count, char **arguments) {
  struct genpool_region_options options = {.size = sizeof options, .memory = "cmb"};
  struct genpool_region *region;
  options.device = count > 1 ? arguments[1] : "0000:01:00.0";
  options.allow = count > 2 ? arguments[2] : NULL;
  if (genpool_region_open(&options, &region) != 0) return fail("open the memory");

  struct gen_pool *pool = gen_pool_create(6, NUMA_NO_NODE); /* granules of 64 bytes */
  if (!pool || genpool_region_add(region, pool, NULL) != 0) return fail("make a pool");
  size_t whole = gen_pool_avail(pool);

  /* Queues begin at a page; a PRP list must not cross one; data may begin at any double word. */
  dma_addr_t queue_bus, list_bus, data_bus;
  void *queue = gen_pool_dma_zalloc_align(pool, ENTRIES * SQ_ENTRY, &queue_bus, PAGE);
  uint64_t *list = gen_pool_dma_alloc_align(pool, BLOCKS * sizeof *list, &list_bus, BLOCKS * sizeof *list);
  char *data = gen_pool_dma_alloc_align(pool, BLOCKS * PAGE, &data_bus, PAGE);
  if (!queue || !list || !data) {
    fprintf(stderr, "the memory is too small: %zu bytes\n", whole);
    return 1;
  }
  for (int i = 0; i < BLOCKS; i++) list[i] = data_bus + (uint64_t)i * PAGE;
  memcpy(data, "genpool", sizeof "genpool");
  printf("submission queue: bus 0x%016" PRIx64 "\n", queue_bus);
  printf("PRP list:         bus 0x%016" PRIx64 "\n", list_bus);
  printf("data:             bus 0x%016" PRIx64 " to 0x%016" PRIx64 "\n", list[0], list[BLOCKS - 1]);

  gen_pool_free(pool, (unsigned long)data, BLOCKS * PAGE);
  gen_pool_free(pool, (unsigned long)list, BLOCKS * sizeof *list);
  gen_pool_free(pool, (unsigned long)queue, ENTRIES * SQ_ENTRY);
  if (gen_pool_avail(pool) != whole) return 1;
  gen_pool_destroy(pool); /* which gives the region back */
  return genpool_region_close(region) == 0 ? 0 : fail("close the memory");
}
