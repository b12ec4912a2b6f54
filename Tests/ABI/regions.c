/*
 * Calls every function of genpool.h that the kernel has not, on an emulated device. C99 and C++17.
 *
 * regions SYSFS_ROOT: an NVMe controller at 0000:01:00.0 with a buffer of 1 MiB, a persistent region of
 * 2 MiB and a bus offset of 0x40000000.
 */
#include "check.h"

#include <errno.h>
#include <genpool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const DEVICE = "0000:01:00.0";
static const char *root;
enum { MEBIBYTE = 1 << 20 };
static const uint64_t OFFSET = 0x40000000;

static struct genpool_region_options options_for(const char *memory) {
  struct genpool_region_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.sysfs_root = root;
  options.device = DEVICE;
  options.memory = memory;
  return options;
}

static struct genpool_region_facts facts_of(struct genpool_region *region) {
  struct genpool_region_facts facts;
  memset(&facts, 0xff, sizeof facts);
  facts.size = sizeof facts;
  check(genpool_region_describe(region, &facts) == 0, "a region is described");
  return facts;
}

struct held {
  unsigned pieces;
  size_t tagged, untagged;
};

static void add_up(unsigned long addr, size_t size, uint32_t tag, void *data) {
  struct held *held = (struct held *)data;
  held->pieces += addr != 0;
  *(tag == 7 ? &held->tagged : &held->untagged) += size;
}

static struct genpool_region *opened(const char *memory) {
  struct genpool_region_options options = options_for(memory);
  struct genpool_region *region = NULL;
  if (genpool_region_open(&options, &region) != 0) fprintf(stderr, "%s\n", genpool_error_text());
  return region;
}

static int refusal(struct genpool_region_options options) {
  struct genpool_region *region = NULL;
  int result = genpool_region_open(&options, &region);
  return region == NULL && genpool_error_text()[0] ? result : 0;
}

static void check_refusals(void) {
  struct genpool_region_options options = options_for("bar2");
  options.device = "0000:09:00.0";
  check(refusal(options) == -ENODEV, "no such device");
  options.device = "nvme0";
  check(refusal(options) == -EINVAL, "what is no address");
  check(refusal(options_for("bar9")) == -EINVAL, "what is no memory");
  check(refusal(options_for(NULL)) == -EINVAL, "no memory is named");
  options = options_for("registers");
  options.offset = 4096;
  check(refusal(options) == -EINVAL, "a part of a controller's registers");
  options = options_for("cmb");
  options.offset = MEBIBYTE;
  check(refusal(options) == -EINVAL, "a part past the end of a controller's memory");
  options = options_for("2,offset=4096");
  options.offset = 4096;
  check(refusal(options) == -EINVAL, "a part that is given twice");
  options = options_for("bar2");
  options.source = 7;
  check(refusal(options) == -EINVAL, "an unknown source");
  options.source = GENPOOL_SOURCE_VFIO;
  check(refusal(options) < 0, "VFIO knows no emulated device");
  options = options_for("bar2");
  options.caching = GENPOOL_CACHING_WRITE_COMBINING;
  check(refusal(options) == -EINVAL, "a caching that is not for the caller to choose");
  options = options_for("bar2");
  options.size = 3;
  check(refusal(options) == -EINVAL, "a struct without its size");
}

/* What a program sends that was compiled with a later, or an earlier, header. */
static void check_sizes(void) {
  struct {
    struct genpool_region_options options;
    uint64_t later;
  } newer;
  memset(&newer, 0, sizeof newer);
  newer.options = options_for("bar2");
  newer.options.size = sizeof newer;
  struct genpool_region *region = NULL;
  check(genpool_region_open(&newer.options, &region) == 0, "a later program's struct, nothing new in it");
  check(genpool_region_close(region) == 0, "is closed");
  newer.later = 1;
  check(genpool_region_open(&newer.options, &region) == -E2BIG, "one that asks for what is not known yet");
  newer.options.size = offsetof(struct genpool_region_options, offset);
  newer.options.offset = 1; /* behind what an earlier program has */
  region = NULL;
  check(genpool_region_open(&newer.options, &region) == 0, "an earlier program's struct");
  struct genpool_region_facts facts;
  memset(&facts, 0xff, sizeof facts);
  facts.size = offsetof(struct genpool_region_facts, bus);
  check(genpool_region_describe(region, &facts) == 0 && facts.length == MEBIBYTE &&
            facts.bus == UINT64_MAX && facts.size == offsetof(struct genpool_region_facts, bus),
        "an earlier program's struct is not written past its end");
  genpool_region_close(region);
}

/* One grammar for all programs: in one text or in two, parts of controllers' memory too. */
static void check_names(void) {
  struct genpool_region_options options = options_for(NULL);
  struct genpool_region *region = NULL;
  options.device = "01:00.0:cmb,offset=64K";
  options.length = 4096;
  check(genpool_region_open(&options, &region) == -EINVAL && region == NULL, "a part that is given twice");
  options.length = 0;
  check(genpool_region_open(&options, &region) == 0, "device and memory in one text");
  struct genpool_region_facts part = facts_of(region);
  check(part.length == MEBIBYTE - (64 << 10) && part.bus == part.physical + OFFSET,
        "a part of a controller's memory");
  check(genpool_region_close(region) == 0, "is closed");
  region = opened("2");
  check(region != NULL && genpool_region_close(region) == 0, "a BAR by its number");
}

/* A controller that was pulled out is not given out again, though a region of it is held. */
static void check_removed(void) {
  char device[512], away[512];
  snprintf(device, sizeof device, "%s/bus/pci/devices/%s", root, DEVICE);
  snprintf(away, sizeof away, "%s/pulled-out", root);
  struct genpool_region *held = opened("registers");
  check(held != NULL && rename(device, away) == 0, "a controller is pulled out while its registers are open");
  check(refusal(options_for("registers")) == -ENODEV, "its registers are not opened again");
  check(refusal(options_for("cmb")) == -ENODEV, "nor its memory");
  check(rename(away, device) == 0 && genpool_region_close(held) == 0, "it is plugged in again");
  held = opened("registers");
  check(held != NULL && genpool_region_close(held) == 0, "and opened");
}

/* A virtual function's registers do not tell where the bus has its memory. */
static void check_unknown_bus_address(void) {
  char link[512];
  snprintf(link, sizeof link, "%s/bus/pci/devices/%s/physfn", root, DEVICE);
  check(symlink("../0000:00:00.0", link) == 0, "a device is a virtual function");
  struct genpool_region *region = opened("2");
  struct gen_pool *pool = gen_pool_create(12, NUMA_NO_NODE);
  check(region && facts_of(region).bus == UINT64_MAX && genpool_region_add(region, pool, NULL) == 0,
        "its memory has no known bus address");
  size_t available = gen_pool_avail(pool);
  dma_addr_t dma = 42;
  check(gen_pool_dma_alloc(pool, 4096, &dma) == NULL && gen_pool_dma_zalloc(pool, 4096, &dma) == NULL &&
            gen_pool_dma_alloc_align(pool, 4096, &dma, 8192) == NULL && dma == 42,
        "none is allocated for a device");
  struct genpool_constraints constraints;
  void *memory = NULL;
  memset(&constraints, 0, sizeof constraints);
  constraints.size = sizeof constraints;
  check(genpool_dma_alloc(pool, 4096, &constraints, &dma, &memory) == -ENXIO && memory == NULL && dma == 42 &&
            strstr(genpool_error_text(), "not known"),
        "with constraints neither, and the error says why");
  check(gen_pool_avail(pool) == available, "nothing is lost by that");
  check(genpool_dma_alloc(pool, 4096, &constraints, NULL, &memory) == 0 && memory, "who asks for no address has one");
  gen_pool_free(pool, (unsigned long)memory, 4096);
  gen_pool_destroy(pool);
  check(genpool_region_close(region) == 0 && unlink(link) == 0, "it is a device of its own again");
}

static void check_memory(void) {
  struct genpool_region *buffer = opened("cmb"), *persistent = opened("pmr"), *registers = opened("registers");
  struct genpool_region_facts facts = facts_of(buffer);
  struct gen_pool *pool = gen_pool_create(12, NUMA_NO_NODE);
  check(buffer && persistent && registers, "a controller's memories are opened by name");
  check(facts.length == MEBIBYTE && facts.bus == facts.physical + OFFSET && facts.chunks == 0 &&
            facts.source == GENPOOL_SOURCE_SYSFS && facts.caching == GENPOOL_CACHING_CACHED &&
            facts.start % MEBIBYTE == facts.physical % MEBIBYTE,
        "its length and addresses are known, and it is mapped as it is aligned");
  check(facts_of(persistent).length == 2 * MEBIBYTE, "so are the persistent region's");
  uint64_t capabilities = *(volatile uint64_t *)facts_of(registers).start;
  check(capabilities != 0 && capabilities != UINT64_MAX, "registers are there to be read");
  check(genpool_region_add(registers, pool, NULL) == -EINVAL, "and not to be allocated");

  void *owner = NULL;
  check(genpool_region_add(buffer, pool, &owner) == 0 && genpool_region_add(persistent, pool, NULL) == 0,
        "regions become chunks");
  check(genpool_region_add(buffer, pool, NULL) == -EEXIST, "once a pool");
  check(genpool_region_close(buffer) == -EBUSY && facts_of(buffer).chunks == 1, "and cannot be closed then");
  check(gen_pool_size(pool) == 3 * MEBIBYTE, "the pool has them both");

  dma_addr_t dma = 0;
  unsigned char *data = (unsigned char *)gen_pool_dma_zalloc_align(pool, 5000, &dma, 2 * 4096);
  uint64_t bus = 0;
  check(data && dma == gen_pool_virt_to_phys(pool, (unsigned long)data) + OFFSET && dma % (2 * 4096) == 0,
        "what is allocated has the address that a device must use");
  check(genpool_bus_address(pool, (unsigned long)data, &bus) == 0 && bus == dma, "genpool_bus_address");
  check(genpool_bus_address(pool, 1, &bus) == -ENXIO, "outside the pool there is none");
  memset(data, 0xa5, 5000);

  struct genpool_statistics statistics;
  memset(&statistics, 0, sizeof statistics);
  statistics.size = sizeof statistics;
  check(genpool_pool_statistics(pool, &statistics) == 0 && statistics.total == 3 * MEBIBYTE &&
            statistics.available == 3 * MEBIBYTE - 2 * 4096 && statistics.chunks == 2 &&
            statistics.largest == 2 * MEBIBYTE - 2 * 4096 && statistics.free_runs == 2,
        "the pool in numbers");

  struct genpool_constraints constraints;
  void *constrained = NULL;
  memset(&constraints, 0, sizeof constraints);
  constraints.size = sizeof constraints;
  constraints.alignment = 3;
  check(genpool_dma_alloc(pool, 1, &constraints, &dma, &constrained) == -EINVAL, "no alignment of 3");
  constraints.alignment = 0;
  check(genpool_dma_alloc(pool, 2 * MEBIBYTE, &constraints, &dma, &constrained) == -ENOMEM,
        "more than is free is ENOMEM");
  check(genpool_dma_alloc(pool, 4 * MEBIBYTE, &constraints, &dma, &constrained) == -EINVAL,
        "more than there is will never be");
  constraints.below = 1 << 20;
  check(genpool_dma_alloc(pool, 1, &constraints, &dma, &constrained) < 0 && genpool_error_text()[0],
        "nothing below the first MiB");
  constraints.below = 0;
  constraints.boundary = 2 * 4096;
  check(genpool_dma_alloc(pool, 2 * 4096, &constraints, &dma, &constrained) == 0 && dma % (2 * 4096) == 0,
        "two pages that cross no boundary of two");
  gen_pool_free(pool, (unsigned long)constrained, 2 * 4096);
  memset(&constraints, 0, sizeof constraints);
  constraints.size = sizeof constraints;
  constraints.uses = GENPOOL_USE_COMPLETION_QUEUES;
  constraints.initiator = DEVICE;
  check(genpool_dma_alloc(pool, 4096, &constraints, &dma, &constrained) == -EINVAL && genpool_error_text()[0],
        "its own memory cannot keep the controller's completion queues");
  constraints.initiator = "0000:7f:00.0";
  check(genpool_dma_alloc(pool, 4096, &constraints, &dma, &constrained) == 0, "but those of another device");
  gen_pool_free(pool, (unsigned long)constrained, 4096);
  constraints.initiator = "nobody";
  check(genpool_dma_alloc(pool, 4096, &constraints, &dma, &constrained) == -EINVAL, "no initiator of that name");
  constraints.initiator = NULL;
  constraints.uses = 0;
  constraints.node = 1 + 5;
  check(genpool_dma_alloc(pool, 4096, &constraints, &dma, &constrained) == -EINVAL, "no memory of NUMA node 5");
  check((facts_of(buffer).uses & GENPOOL_USE_COMPLETION_QUEUES) == 0 &&
            (facts_of(buffer).uses & GENPOOL_USE_SUBMISSION_QUEUES) != 0,
        "a region says what its controller can keep there");

  struct genpool_initiator *initiator = NULL;
  struct genpool_dma_mapping *mapping = NULL;
  uint64_t address = 0;
  check(genpool_initiator_get(root, "0", GENPOOL_SOURCE_SYSFS, &initiator) == -EINVAL, "no initiator");
  check(genpool_initiator_get(root, DEVICE, GENPOOL_SOURCE_SYSFS, &initiator) == 0, "an initiator");
  check(genpool_initiator_enable(initiator) == 0, "does DMA");
  check(genpool_dma_map(initiator, pool, (unsigned long)data, 5000, &address, &mapping) == 0 && address == bus,
        "where nothing translates it uses the bus address");
  genpool_dma_unmap(mapping);
  check(genpool_dma_map(initiator, pool, 1, 1, &address, &mapping) == -EINVAL, "outside the pool there is none");
  genpool_initiator_put(initiator);

  int status = 0;
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    struct gen_pool *own = gen_pool_create(12, NUMA_NO_NODE);
    _exit(genpool_region_add(persistent, own, NULL) == -EPERM && genpool_region_close(registers) == -EPERM ? 0 : 1);
  }
  waitpid(child, &status, 0);
  check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "regions are not a forked child's");

  unsigned long start = facts_of(persistent).start;
  check(genpool_region_take_back(persistent, pool) == -EBUSY, "what is in use is not taken back");
  check(genpool_chunk_drain(pool, start) == 0 && gen_pool_avail(pool) == MEBIBYTE &&
            !gen_pool_alloc(pool, 2 * MEBIBYTE - 2 * 4096),
        "a drained chunk is not allocated from");
  check(genpool_chunk_undrain(pool, start) == 0 && gen_pool_avail(pool) == 3 * MEBIBYTE - 2 * 4096,
        "until it is undrained");
  struct held held = {0, 0, 0};
  check(genpool_tag(pool, (unsigned long)data, 4096, 7) == 0 && genpool_tag(pool, start + MEBIBYTE, 1, 7) == -EINVAL &&
            genpool_tag(pool, 1, 1, 7) == -EFAULT && genpool_error_text()[0],
        "what is allocated can be tagged, and nothing else");
  genpool_for_each_holding(pool, add_up, &held);
  check(held.pieces == 2 && held.tagged == 4096 && held.untagged == 4096, "who holds what");
  gen_pool_free(pool, (unsigned long)data, 5000);
  memset(&held, 0, sizeof held);
  genpool_for_each_holding(pool, add_up, &held);
  check(held.pieces == 0, "what is free is nobody's");
  check(genpool_region_take_back(persistent, pool) == 0 && gen_pool_size(pool) == MEBIBYTE &&
            facts_of(persistent).chunks == 0,
        "a region is taken back from a pool that lives on");
  check(genpool_region_take_back(persistent, pool) == -EFAULT && genpool_error_text()[0], "once");
  check(gen_pool_add(pool, 0x10000, 4096, NUMA_NO_NODE) == 0 && genpool_chunk_remove(pool, 0x10000) == 0 &&
            !gen_pool_has_addr(pool, 0x10000, 1) && genpool_chunk_drain(pool, 0x10000) == -EFAULT,
        "other chunks are removed by their address");
  check(genpool_region_add(persistent, pool, NULL) == 0, "and may come back");
  check(genpool_pool_statistics(pool, &statistics) == 0 && statistics.allocations == statistics.frees &&
            statistics.allocations > 0 && statistics.failed_full > 0,
        "the pool has counted");
  gen_pool_destroy(pool);
  check(facts_of(buffer).chunks == 0 && ((unsigned char *)facts_of(buffer).start) != NULL,
        "the pool's end gives the regions back");
  pool = gen_pool_create(12, NUMA_NO_NODE);
  check(genpool_region_add(buffer, pool, &owner) == 0 && gen_pool_size(pool) == MEBIBYTE, "to be used again");
  gen_pool_destroy(pool);
  check(genpool_region_close(buffer) == 0 && genpool_region_close(persistent) == 0 &&
            genpool_region_close(registers) == 0 && genpool_region_close(NULL) == 0,
        "and closed");
}

static void check_bar(void) {
  struct genpool_region_options options = options_for("bar2");
  struct genpool_region *lower = NULL, *upper = NULL;
  options.length = MEBIBYTE / 2;
  check(genpool_region_open(&options, &lower) == 0, "a part of a BAR");
  check(refusal(options) == -EBUSY, "only once");
  options.offset = MEBIBYTE / 2;
  options.length = 0;
  check(genpool_region_open(&options, &upper) == 0, "the rest of it");
  check(facts_of(upper).length == MEBIBYTE / 2 &&
            facts_of(upper).physical == facts_of(lower).physical + MEBIBYTE / 2,
        "follows the part");
  check(genpool_region_close(lower) == 0 && genpool_region_close(upper) == 0, "parts are closed");
  options = options_for("bar2");
  options.caching = GENPOOL_CACHING_UNCACHED;
  options.allow = "hotplug,";
  check(genpool_region_open(&options, &lower) == 0, "a BAR without caching");
  genpool_region_close(lower);
  options = options_for("bar0");
  options.allow = "hotplug,not-prefetchable";
  check(refusal(options) == -EPERM, "a controller's registers are not memory");
  options.caching = GENPOOL_CACHING_UNCACHED;
  check(genpool_region_open(&options, &lower) == 0, "they are opened without caching");
  struct gen_pool *pool = gen_pool_create(12, NUMA_NO_NODE);
  check(genpool_region_add(lower, pool, NULL) == -EINVAL, "and do not become a chunk");
  gen_pool_destroy(pool);
  genpool_region_close(lower);
}

int main(int count, char **arguments) {
  if (count != 2) return 2;
  root = arguments[1];
  check(genpool_guard_faults() == 0, "SIGBUS is guarded on demand");
  check_refusals();
  check_sizes();
  check_bar();
  check_names();
  check_removed();
  check_unknown_bus_address();
  check_memory();
  return conclusion();
}
