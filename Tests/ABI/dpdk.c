/*
 * genpool's memory under DPDK: registered as external memory and as a heap, with the addresses that
 * genpool knows; whatever DPDK allocates there has genpool's bus address.
 *
 * dpdk SYSFS_ROOT: an NVMe controller at 0000:01:00.0 with a buffer.
 */
#include "check.h"

#include <genpool.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_malloc.h>
#include <rte_memory.h>
#include <stdlib.h>

enum { PAGE = 4096, PAGES = 64, HALF = PAGES * PAGE };

/* The bus addresses of a block's pages, for DPDK's tables. */
static void *block(struct gen_pool *pool, rte_iova_t *pages) {
  dma_addr_t dma;
  char *start = gen_pool_dma_zalloc_align(pool, HALF, &dma, HALF);
  for (int i = 0; start && i < PAGES; i++) {
    uint64_t bus;
    if (genpool_bus_address(pool, (unsigned long)(start + i * PAGE), &bus) != 0) return NULL;
    pages[i] = bus;
  }
  return start;
}

int main(int count, char **arguments) {
  char *options[] = {arguments[0],     "--no-huge", "--no-shconf", "--no-pci", "--iova-mode=pa",
                     "--log-level=lib.*:error", "-m", "16", "-l", "0"};
  struct genpool_region_options wanted = {
      .size = sizeof wanted, .sysfs_root = arguments[1], .device = "0000:01:00.0", .memory = "cmb"};
  struct genpool_region *region;
  rte_iova_t pages[PAGES];
  if (count != 2 || genpool_region_open(&wanted, &region) != 0) {
    fprintf(stderr, "%s\n", genpool_error_text());
    return 2;
  }
  struct gen_pool *pool = gen_pool_create(12, NUMA_NO_NODE);
  check(genpool_region_add(region, pool, NULL) == 0, "a controller's memory is a pool");
  check(rte_eal_init(sizeof options / sizeof *options, options) >= 0, "DPDK starts");

  char *external = block(pool, pages);
  check(external && rte_extmem_register(external, HALF, pages, PAGES, PAGE) == 0,
        "an allocation becomes external memory");
  int right = 0;
  for (int i = 0; i < PAGES; i++) {
    const struct rte_memseg *segment = rte_mem_virt2memseg(external + i * PAGE, NULL);
    right += segment && segment->iova == pages[i];
  }
  check(right == PAGES, "DPDK finds each page where genpool says");

  char *lent = block(pool, pages);
  check(lent && rte_malloc_heap_create("genpool") == 0 &&
            rte_malloc_heap_memory_add("genpool", lent, HALF, pages, PAGES, PAGE) == 0,
        "another becomes a heap");
  int socket = rte_malloc_heap_get_socket("genpool");
  void *objects[20];
  right = 0;
  for (int i = 0; i < 20; i++) {
    uint64_t bus = 0;
    objects[i] = rte_malloc_socket(NULL, 1000, 64, socket);
    right += objects[i] && genpool_bus_address(pool, (unsigned long)objects[i], &bus) == 0 &&
             rte_malloc_virt2iova(objects[i]) == bus;
  }
  check(right == 20, "what the heap allocates has genpool's bus address");
  for (int i = 0; i < 20; i++) rte_free(objects[i]);

  check(rte_malloc_heap_memory_remove("genpool", lent, HALF) == 0 &&
            rte_malloc_heap_destroy("genpool") == 0 && rte_extmem_unregister(external, HALF) == 0,
        "DPDK gives it back");
  gen_pool_free(pool, (unsigned long)external, HALF);
  gen_pool_free(pool, (unsigned long)lent, HALF);
  gen_pool_destroy(pool);
  check(genpool_region_close(region) == 0, "and so does genpool");
  rte_eal_cleanup();
  return conclusion();
}
