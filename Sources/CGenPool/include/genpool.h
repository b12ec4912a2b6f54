/*
 * genpool.h: device memory in user space, with the kernel's gen_pool API.
 *
 * Code that was written for the kernel's <linux/genalloc.h> compiles with this header and runs with
 * -lgenpool: same names, same signatures, same answers. What the kernel has no name for begins with
 * genpool_. genpool(3) describes the functions, genpool(7) how this differs from the kernel.
 *
 * Every function may be called from any thread, but those of one cache by one thread at a time; a
 * pool is destroyed when all other calls that use it have returned. C99 or C++11, 64-bit Linux.
 */
#ifndef GENPOOL_H
#define GENPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What may be NULL, for languages that ask. */
#if defined(__swift__)
#pragma clang assume_nonnull begin
#define GENPOOL_NULLABLE _Nullable
#else
#define GENPOOL_NULLABLE
#endif

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The kernel's types. Define GENPOOL_NO_KERNEL_TYPES where something else defines them already.
 */
#ifndef GENPOOL_NO_KERNEL_TYPES
typedef uint64_t phys_addr_t;
typedef uint64_t dma_addr_t;

typedef struct {
  long counter;
} atomic_long_t;

static inline long atomic_long_read(const atomic_long_t *v) {
  return __atomic_load_n(&v->counter, __ATOMIC_RELAXED);
}

/* Pointers that are errors: what devm_gen_pool_create answers. */
#ifndef IS_ERR
static inline void *ERR_PTR(long error) { return (void *)error; }
static inline long PTR_ERR(const void *pointer) { return (long)pointer; }
static inline bool IS_ERR(const void *pointer) { return (unsigned long)pointer >= (unsigned long)-4095L; }
static inline bool IS_ERR_OR_NULL(const void *GENPOOL_NULLABLE pointer) {
  return !pointer || (unsigned long)pointer >= (unsigned long)-4095L;
}
#endif

#ifndef NUMA_NO_NODE
#define NUMA_NO_NODE (-1)
#endif
#endif

/* ---- The kernel's gen_pool ---------------------------------------------------------------- */

struct device;
struct device_node;
struct gen_pool;

/*
 * Chooses where nr granules go in a map of size granules (1 = allocated), not below start: the index of
 * the first, or anything >= size for nowhere. Called with the chunk locked: it must not allocate from the
 * pool, nor free.
 */
typedef unsigned long (*genpool_algo_t)(unsigned long *map, unsigned long size, unsigned long start,
                                        unsigned int nr, void *GENPOOL_NULLABLE data,
                                        struct gen_pool *pool, unsigned long start_addr);

/* To be read, not written: gen_pool_set_algo changes algo and data. */
struct gen_pool {
  int min_alloc_order; /* granules are of 2^min_alloc_order bytes */
  genpool_algo_t algo;
  void *GENPOOL_NULLABLE data;
  const char *GENPOOL_NULLABLE name;
  void *implementation;
};

/* A chunk, as gen_pool_for_each_chunk shows it: valid until the function it calls returns. */
struct gen_pool_chunk {
  atomic_long_t avail;
  phys_addr_t phys_addr; /* of the first byte; all ones for none */
  void *GENPOOL_NULLABLE owner;
  unsigned long start_addr;
  unsigned long end_addr; /* of the last byte */
  unsigned long *bits;    /* the map itself, of (end_addr - start_addr + 1) >> min_alloc_order bits */
};

/* For gen_pool_first_fit_align. */
struct genpool_data_align {
  int align; /* in bytes */
};

/* For gen_pool_fixed_alloc. */
struct genpool_data_fixed {
  unsigned long offset; /* in bytes from a chunk's start */
};

struct gen_pool *GENPOOL_NULLABLE gen_pool_create(int min_alloc_order, int nid);
void gen_pool_destroy(struct gen_pool *pool);

int gen_pool_add(struct gen_pool *pool, unsigned long addr, size_t size, int nid);
int gen_pool_add_virt(struct gen_pool *pool, unsigned long addr, phys_addr_t phys, size_t size, int nid);
int gen_pool_add_owner(struct gen_pool *pool, unsigned long virt, phys_addr_t phys, size_t size, int nid,
                       void *GENPOOL_NULLABLE owner);

unsigned long gen_pool_alloc(struct gen_pool *pool, size_t size);
unsigned long gen_pool_alloc_algo(struct gen_pool *pool, size_t size, genpool_algo_t algo,
                                  void *GENPOOL_NULLABLE data);
unsigned long gen_pool_alloc_owner(struct gen_pool *pool, size_t size,
                                   void *GENPOOL_NULLABLE *GENPOOL_NULLABLE owner);
unsigned long gen_pool_alloc_algo_owner(struct gen_pool *pool, size_t size, genpool_algo_t algo,
                                        void *GENPOOL_NULLABLE data,
                                        void *GENPOOL_NULLABLE *GENPOOL_NULLABLE owner);

/*
 * *dma is what gen_pool_virt_to_phys says, as in the kernel; in the memory of a genpool_region it is
 * the bus address, because that is what a device must use. Where that is not known they return NULL,
 * unless dma is NULL.
 */
void *GENPOOL_NULLABLE gen_pool_dma_alloc(struct gen_pool *pool, size_t size,
                                          dma_addr_t *GENPOOL_NULLABLE dma);
void *GENPOOL_NULLABLE gen_pool_dma_alloc_algo(struct gen_pool *GENPOOL_NULLABLE pool, size_t size,
                                               dma_addr_t *GENPOOL_NULLABLE dma, genpool_algo_t algo,
                                               void *GENPOOL_NULLABLE data);
void *GENPOOL_NULLABLE gen_pool_dma_alloc_align(struct gen_pool *GENPOOL_NULLABLE pool, size_t size,
                                                dma_addr_t *GENPOOL_NULLABLE dma, int align);
/* The same, with exactly size bytes zeroed. */
void *GENPOOL_NULLABLE gen_pool_dma_zalloc(struct gen_pool *pool, size_t size,
                                           dma_addr_t *GENPOOL_NULLABLE dma);
void *GENPOOL_NULLABLE gen_pool_dma_zalloc_algo(struct gen_pool *GENPOOL_NULLABLE pool, size_t size,
                                                dma_addr_t *GENPOOL_NULLABLE dma, genpool_algo_t algo,
                                                void *GENPOOL_NULLABLE data);
void *GENPOOL_NULLABLE gen_pool_dma_zalloc_align(struct gen_pool *GENPOOL_NULLABLE pool, size_t size,
                                                 dma_addr_t *GENPOOL_NULLABLE dma, int align);

void gen_pool_free(struct gen_pool *pool, unsigned long addr, size_t size);
void gen_pool_free_owner(struct gen_pool *pool, unsigned long addr, size_t size,
                         void *GENPOOL_NULLABLE *GENPOOL_NULLABLE owner);

phys_addr_t gen_pool_virt_to_phys(struct gen_pool *pool, unsigned long addr);
bool gen_pool_has_addr(struct gen_pool *pool, unsigned long start, size_t size);
size_t gen_pool_avail(struct gen_pool *pool);
size_t gen_pool_size(struct gen_pool *pool);
void gen_pool_for_each_chunk(struct gen_pool *pool,
                             void (*func)(struct gen_pool *pool, struct gen_pool_chunk *chunk,
                                          void *GENPOOL_NULLABLE data),
                             void *GENPOOL_NULLABLE data);

void gen_pool_set_algo(struct gen_pool *pool, genpool_algo_t GENPOOL_NULLABLE algo,
                       void *GENPOOL_NULLABLE data);
unsigned long gen_pool_first_fit(unsigned long *map, unsigned long size, unsigned long start,
                                 unsigned int nr, void *GENPOOL_NULLABLE data, struct gen_pool *pool,
                                 unsigned long start_addr);
unsigned long gen_pool_first_fit_align(unsigned long *map, unsigned long size, unsigned long start,
                                       unsigned int nr, void *GENPOOL_NULLABLE data,
                                       struct gen_pool *pool, unsigned long start_addr);
unsigned long gen_pool_first_fit_order_align(unsigned long *map, unsigned long size, unsigned long start,
                                             unsigned int nr, void *GENPOOL_NULLABLE data,
                                             struct gen_pool *pool, unsigned long start_addr);
unsigned long gen_pool_best_fit(unsigned long *map, unsigned long size, unsigned long start,
                                unsigned int nr, void *GENPOOL_NULLABLE data, struct gen_pool *pool,
                                unsigned long start_addr);
unsigned long gen_pool_fixed_alloc(unsigned long *map, unsigned long size, unsigned long start,
                                   unsigned int nr, void *GENPOOL_NULLABLE data, struct gen_pool *pool,
                                   unsigned long start_addr);

/* Pools that end with their device. An error is an ERR_PTR: -EINVAL for a name that the device has. */
struct gen_pool *GENPOOL_NULLABLE devm_gen_pool_create(struct device *dev, int min_alloc_order, int nid,
                                                       const char *GENPOOL_NULLABLE name);
struct gen_pool *GENPOOL_NULLABLE gen_pool_get(struct device *dev, const char *GENPOOL_NULLABLE name);
struct gen_pool *GENPOOL_NULLABLE of_gen_pool_get(struct device_node *np, const char *propname, int index);

/* ---- What user space needs besides -------------------------------------------------------- */

/*
 * Told of every misuse: fatal = 1 where the kernel says BUG, 0 where it WARNs. If it returns, the call
 * has no effect. Without a handler (NULL) the message goes to stderr, and what is fatal aborts. To be set
 * before other threads use the library.
 */
typedef void (*genpool_misuse_handler_t)(int fatal, const char *message, void *GENPOOL_NULLABLE context);
void genpool_set_misuse_handler(genpool_misuse_handler_t GENPOOL_NULLABLE handler,
                                void *GENPOOL_NULLABLE context);

/*
 * The functions from here on return 0 or a negative errno, and give what they made through their last
 * parameter. Every struct begins with its size: set it to sizeof, and the rest to 0 before use.
 */

/* Why the last genpool_ function that failed in this thread did: a line, valid until the next fails. */
const char *genpool_error_text(void);
/* "1.2.3": the version of the library. */
const char *genpool_version(void);
/*
 * From now on memory of genpool_regions that stops answering makes errors of genpool_ functions, not
 * SIGBUS: installs a handler for that signal, which nothing else here does.
 */
int genpool_guard_faults(void);

/*
 * A device: "0000:01:00.0", or a path below sysfs_root ("devices/platform/soc/100000.sram").
 * sysfs_root NULL is $GENPOOL_SYSFS_ROOT, else /sys. Handles of one device share its pools, which end
 * with the last handle: -EBUSY, and nothing happens, while one of them has anything allocated.
 */
int genpool_device_get(const char *GENPOOL_NULLABLE sysfs_root, const char *name,
                       struct device *GENPOOL_NULLABLE *GENPOOL_NULLABLE device);
int genpool_device_put(struct device *GENPOOL_NULLABLE device);

/* A node of the device tree in sysfs_root/firmware/devicetree/base: "/soc/dma@10000". */
int genpool_node_get(const char *GENPOOL_NULLABLE sysfs_root, const char *path,
                     struct device_node *GENPOOL_NULLABLE *GENPOOL_NULLABLE node);
void genpool_node_put(struct device_node *GENPOOL_NULLABLE node);

/* ---- Memory of devices -------------------------------------------------------------------- */

/* By what interface of the kernel's a device's memory is opened, or its DMA allowed. */
enum genpool_source {
  GENPOOL_SOURCE_SYSFS = 0, /* no IOMMU needed; does not notice when the device is pulled out */
  GENPOOL_SOURCE_VFIO = 1   /* the device is bound to vfio-pci */
};

/* How the CPU treats accesses. */
enum genpool_caching {
  GENPOOL_CACHING_DEFAULT = 0, /* write-combining where the BAR is prefetchable */
  GENPOOL_CACHING_UNCACHED = 1,
  GENPOOL_CACHING_WRITE_COMBINING = 2,
  GENPOOL_CACHING_CACHED = 3 /* ordinary memory: an emulated device's */
};

/* What a controller can keep in memory of its own (NVMe 1.4, CMBSZ). Other devices are not bound by it. */
enum genpool_use {
  GENPOOL_USE_SUBMISSION_QUEUES = 1,
  GENPOOL_USE_COMPLETION_QUEUES = 2,
  GENPOOL_USE_LISTS = 4, /* PRP and SGL lists */
  GENPOOL_USE_READ_DATA = 8,
  GENPOOL_USE_WRITE_DATA = 16,
  GENPOOL_USE_ALL = 31
};

/* Where nobody knows an address. */
#define GENPOOL_NO_ADDRESS UINT64_MAX

/* What to open. */
struct genpool_region_options {
  size_t size;                              /* sizeof(struct genpool_region_options) */
  const char *GENPOOL_NULLABLE sysfs_root;  /* as for genpool_device_get */
  const char *GENPOOL_NULLABLE device;      /* "0000:01:00.0", or with its memory: "0000:01:00.0:cmb" */
  const char *GENPOOL_NULLABLE memory;      /* "0" to "5", "bar0" to "bar5": a BAR; "cmb", "pmr",
                                               "registers"; NULL when device names it */
  uint64_t offset;                          /* into that memory, a multiple of the page size */
  uint64_t length;                          /* of a part of it, likewise; 0 for the rest */
  uint32_t source;                          /* enum genpool_source */
  uint32_t caching;                         /* GENPOOL_CACHING_DEFAULT or _UNCACHED, of a BAR */
  const char *GENPOOL_NULLABLE allow;       /* attach rules that may be broken, with commas: "hotplug" */
};

/* What was opened. */
struct genpool_region_facts {
  size_t size;         /* sizeof(struct genpool_region_facts) */
  unsigned long start; /* where this process has it mapped */
  uint64_t length;     /* in bytes */
  uint64_t physical;   /* where the CPU finds it, or GENPOOL_NO_ADDRESS */
  uint64_t bus;        /* where devices without an IOMMU find it, or GENPOOL_NO_ADDRESS */
  uint32_t source;
  uint32_t caching;
  uint32_t chunks; /* of how many pools it is a chunk */
  uint32_t uses;   /* what its own device can keep in it: GENPOOL_USE_... */
};

/*
 * Opens and maps memory of a device, if all rules that guard the machine allow it: it is enabled, kept
 * from drivers, locked against other users and, if it is a controller's, made to appear; closing undoes
 * that. Its address is aligned as its physical address is. Forked children do not have it.
 */
struct genpool_region;
int genpool_region_open(const struct genpool_region_options *options,
                        struct genpool_region *GENPOOL_NULLABLE *GENPOOL_NULLABLE region);
int genpool_region_describe(struct genpool_region *region, struct genpool_region_facts *facts);
/*
 * Makes it a chunk of a pool, with its physical and bus address. The region stays the caller's, who has
 * it back when the pool is destroyed.
 */
int genpool_region_add(struct genpool_region *region, struct gen_pool *pool, void *GENPOOL_NULLABLE owner);
/*
 * Takes it out of a pool that lives on. -EBUSY, and nothing happens, while anything is allocated there:
 * genpool_chunk_drain keeps new allocations out meanwhile. -EFAULT when the pool has not got it.
 */
int genpool_region_take_back(struct genpool_region *region, struct gen_pool *pool);
/* Unmaps and closes it. -EBUSY while it is a chunk of a pool. */
int genpool_region_close(struct genpool_region *GENPOOL_NULLABLE region);

/* The bus address of an address in a pool; -ENXIO where there is none, or nobody knows it. */
int genpool_bus_address(struct gen_pool *pool, unsigned long addr, uint64_t *bus);

/* What a device asks of memory. */
struct genpool_constraints {
  size_t size;        /* sizeof(struct genpool_constraints) */
  uint64_t alignment; /* of the virtual, physical and bus address: a power of two; 0 for none */
  uint64_t below;     /* no byte at this bus address or above; 0 for any */
  uint64_t boundary;  /* crosses no multiple of this, a power of two, on the bus; 0 for any */
  const char *GENPOOL_NULLABLE initiator; /* the device that will use it; NULL if that may be any */
  uint32_t uses;      /* for what, GENPOOL_USE_...: regions of the initiator's own must be able to keep it */
  uint32_t node;      /* a NUMA node, plus 1; 0 for any */
};
/*
 * gen_pool_dma_alloc with constraints, and with a reason for its failure: -ENOMEM for too little memory,
 * -ENOSPC for memory in pieces, -EINVAL for what can never be, -ENXIO when dma is asked for in a
 * genpool_region whose bus address is not known. A chunk without a bus address meets no
 * constraint on it. gen_pool_free frees.
 */
int genpool_dma_alloc(struct gen_pool *pool, size_t size, const struct genpool_constraints *constraints,
                      dma_addr_t *GENPOOL_NULLABLE dma,
                      void *GENPOOL_NULLABLE *GENPOOL_NULLABLE memory);

/* A device that does DMA, which has its own address for every piece of memory. */
struct genpool_initiator;
int genpool_initiator_get(const char *GENPOOL_NULLABLE sysfs_root, const char *device, uint32_t source,
                          struct genpool_initiator *GENPOOL_NULLABLE *GENPOOL_NULLABLE initiator);
/* Lets it do DMA (bus mastering), until the last of its regions is closed; needs one that is open. */
int genpool_initiator_enable(struct genpool_initiator *initiator);
void genpool_initiator_put(struct genpool_initiator *GENPOOL_NULLABLE initiator);

/*
 * By which address an initiator reaches size bytes of a pool: its IOVA, which is mapped for it, or the
 * bus address where nothing translates. Good until it is unmapped; -EHOSTUNREACH if there is no way.
 */
struct genpool_dma_mapping;
int genpool_dma_map(struct genpool_initiator *initiator, struct gen_pool *pool, unsigned long addr,
                    size_t size, uint64_t *address,
                    struct genpool_dma_mapping *GENPOOL_NULLABLE *GENPOOL_NULLABLE mapping);
void genpool_dma_unmap(struct genpool_dma_mapping *GENPOOL_NULLABLE mapping);

/*
 * Chunks by their first address, -EFAULT for another: a drained one is not allocated from until it is
 * undrained, one that is removed (-EBUSY while anything is allocated there) is forgotten. None may be
 * removed while gen_pool_for_each_chunk runs.
 */
int genpool_chunk_drain(struct gen_pool *pool, unsigned long start_addr);
int genpool_chunk_undrain(struct gen_pool *pool, unsigned long start_addr);
int genpool_chunk_remove(struct gen_pool *pool, unsigned long start_addr);

/* A pool in numbers: a snapshot. */
struct genpool_statistics {
  size_t size;                /* sizeof(struct genpool_statistics) */
  uint64_t total;             /* gen_pool_size */
  uint64_t available;         /* gen_pool_avail: not what is free in drained chunks */
  uint64_t largest;           /* the longest free run, in bytes */
  uint64_t free_runs;
  uint64_t chunks;
  uint64_t peak;              /* the most bytes that each chunk ever had allocated, added up */
  uint64_t allocations;       /* that succeeded */
  uint64_t frees;             /* that succeeded */
  uint64_t failed_full;       /* allocations for which no chunk had enough */
  uint64_t failed_fragmented; /* allocations for which no free run would do */
  uint64_t cached;            /* the bytes that caches hold, which count as allocated */
};
int genpool_pool_statistics(struct gen_pool *pool, struct genpool_statistics *statistics);

/*
 * Allocates count times size bytes by the pool's algorithm, or nothing, and stores the addresses in
 * addrs: those that as many calls of gen_pool_alloc, one after another, would return. Other threads
 * see all of the batch allocated or nothing, and wait until it is: an own algorithm is called with
 * more locks than one held. A count of 0 does nothing. -ENOMEM when no chunk has
 * size bytes left for one of them, -ENOSPC when no free run fits, -EINVAL for a size of 0: what
 * addrs has then means nothing.
 */
int genpool_alloc_batch(struct gen_pool *pool, size_t size, size_t count, unsigned long *addrs);
/*
 * Frees size bytes at each of count addresses, in any order, or nothing: -EINVAL when one of them
 * is not allocated or occurs twice, -EFAULT outside of the chunks, -ENODEV where a chunk was taken
 * back.
 */
int genpool_free_batch(struct gen_pool *pool, size_t size, size_t count, const unsigned long *addrs);

/*
 * Whose allocated memory is: a number that the pool's users agree on, 0 for nobody's. Kept outside of the
 * memory; a free forgets it. -EFAULT outside of the chunks, -EINVAL for what is not allocated, -ENOMEM.
 */
int genpool_tag(struct gen_pool *pool, unsigned long addr, size_t size, uint32_t tag);
/* What is allocated, and whose, newest chunk first: a snapshot, so that f may use the pool. */
void genpool_for_each_holding(struct gen_pool *pool,
                              void (*f)(unsigned long addr, size_t size, uint32_t tag,
                                        void *GENPOOL_NULLABLE data),
                              void *GENPOOL_NULLABLE data);

/*
 * A thread's own stock of small allocations, without the pool's locks: at any place, where
 * gen_pool_alloc has the kernel's. One thread at a time uses it. largest is the largest size that
 * it serves (64 granules for 0, and at most), limit the most bytes that it holds (256 granules for
 * 0). What it holds counts as allocated, so that gen_pool_destroy takes it for a misuse until the
 * cache is flushed or destroyed.
 */
struct genpool_cache;
int genpool_cache_create(struct gen_pool *pool, size_t largest, size_t limit,
                         struct genpool_cache *GENPOOL_NULLABLE *GENPOOL_NULLABLE cache);
/* The address, or 0: as gen_pool_alloc. More than largest comes from the pool, by the first fit. */
unsigned long genpool_cache_alloc(struct genpool_cache *cache, size_t size);
/* As gen_pool_free, which may free what a cache handed out, as this what the pool did. */
void genpool_cache_free(struct genpool_cache *cache, unsigned long addr, size_t size);
/* Gives all that it holds back to the pool. -EPERM in a forked child. */
int genpool_cache_flush(struct genpool_cache *cache);
/* Flushes and ends it. What it handed out stays allocated. */
void genpool_cache_destroy(struct genpool_cache *GENPOOL_NULLABLE cache);

int genpool_record(struct gen_pool *pool, const char *path);
int genpool_record_end(struct gen_pool *pool);

#ifdef __cplusplus
}
#endif

#if defined(__swift__)
#pragma clang assume_nonnull end
#endif

#endif
