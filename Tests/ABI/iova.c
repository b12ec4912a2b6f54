/*
 * A controller's memory by the IOVA that another controller must use. Runs in the QEMU machine:
 * iova INITIATOR OWNER, both bound to vfio-pci.
 */
#include "check.h"

#include <errno.h>
#include <genpool.h>
#include <inttypes.h>

enum { SIZE = 64 << 10 };

int main(int count, char **arguments) {
  if (count != 3) return 2;
  struct genpool_region_options options = {
      .size = sizeof options, .device = arguments[2], .memory = "cmb", .source = GENPOOL_SOURCE_VFIO};
  struct genpool_region *region = NULL;
  struct genpool_region_facts facts = {.size = sizeof facts};
  struct genpool_initiator *initiator = NULL;
  struct genpool_dma_mapping *first = NULL, *second = NULL;
  struct gen_pool *pool = gen_pool_create(12, NUMA_NO_NODE);
  uint64_t bus = 0, address = 0, other = 0;

  if (genpool_region_open(&options, &region) != 0 || genpool_region_add(region, pool, NULL) != 0 ||
      genpool_initiator_get(NULL, arguments[1], GENPOOL_SOURCE_VFIO, &initiator) != 0) {
    fprintf(stderr, "%s\n", genpool_error_text());
    return 1;
  }
  genpool_region_describe(region, &facts);
  check(facts.source == GENPOOL_SOURCE_VFIO && facts.caching == GENPOOL_CACHING_UNCACHED,
        "the region is VFIO's, and uncached");
  unsigned long memory = gen_pool_alloc(pool, SIZE);
  check(memory && genpool_bus_address(pool, memory, &bus) == 0, "it has bus addresses");
  check(genpool_initiator_enable(initiator) == 0, "the initiator does DMA");
  check(genpool_dma_map(initiator, pool, memory, SIZE, &address, &first) == 0 && address != bus,
        "to the initiator it is at an IOVA");
  check(genpool_dma_map(initiator, pool, memory, SIZE, &other, &second) == 0 && other != address,
        "and at another one when it is mapped again");
  printf("bus 0x%016" PRIx64 ", iova 0x%016" PRIx64 "\n", bus, address);
  genpool_dma_unmap(second);
  gen_pool_free(pool, memory, SIZE);
  gen_pool_destroy(pool);
  check(genpool_region_close(region) == -EBUSY, "a mapping keeps the region open");
  genpool_dma_unmap(first);
  check(genpool_region_close(region) == 0, "until it ends");
  genpool_initiator_put(initiator);
  return conclusion();
}
