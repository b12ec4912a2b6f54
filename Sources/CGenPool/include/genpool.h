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

/** GENPOOL_NULLABLE - marks what may be NULL, for languages that ask; nothing in C */
#if defined(__swift__)
#pragma clang assume_nonnull begin
#define GENPOOL_NULLABLE _Nullable
#else
#define GENPOOL_NULLABLE
#endif

#ifdef __cplusplus
extern "C" {
#endif

/**
 * GENPOOL_NO_KERNEL_TYPES - defined by a program before it includes this header, if something else
 * defines phys_addr_t, dma_addr_t, atomic_long_t and atomic_long_read already
 */
#ifndef GENPOOL_NO_KERNEL_TYPES
typedef uint64_t phys_addr_t;
typedef uint64_t dma_addr_t;

typedef struct {
  long counter;
} atomic_long_t;

/**
 * atomic_long_read - reads what another thread may change
 * @v: a counter, as gen_pool_chunk has one
 *
 * Return: its value.
 */
static inline long atomic_long_read(const atomic_long_t *v) {
  return __atomic_load_n(&v->counter, __ATOMIC_RELAXED);
}

/* Pointers that are errors: what devm_gen_pool_create answers. */
#ifndef IS_ERR
/**
 * ERR_PTR - makes a pointer of an error
 * @error: a negative errno
 *
 * Return: the pointer.
 */
static inline void *ERR_PTR(long error) { return (void *)error; }

/**
 * PTR_ERR - finds the error that a pointer is
 * @pointer: one for which IS_ERR is true
 *
 * Return: a negative errno.
 */
static inline long PTR_ERR(const void *pointer) { return (long)pointer; }

/**
 * IS_ERR - tells a pointer that is an error
 * @pointer: any
 *
 * Return: true for errors -1 to -4095.
 */
static inline bool IS_ERR(const void *pointer) { return (unsigned long)pointer >= (unsigned long)-4095L; }

/**
 * IS_ERR_OR_NULL - tells a pointer that is an error or NULL
 * @pointer: any
 *
 * Return: true for NULL and for errors -1 to -4095.
 */
static inline bool IS_ERR_OR_NULL(const void *GENPOOL_NULLABLE pointer) {
  return !pointer || (unsigned long)pointer >= (unsigned long)-4095L;
}
#endif

/** NUMA_NO_NODE - no NUMA node: for nid */
#ifndef NUMA_NO_NODE
#define NUMA_NO_NODE (-1)
#endif
#endif

/* ---- The kernel's gen_pool ---------------------------------------------------------------- */

struct device;
struct device_node;
struct gen_pool;

/*
 * Chooses where nr granules go in a map of size granules (1 = allocated), not below start: returns the
 * index of the first, or anything >= size for nowhere. Called with the chunk locked: it must not allocate
 * from the pool, nor free, nor leave by longjmp, after which the chunk would stay locked for ever.
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
  /* the map itself, of (end_addr - start_addr + 1) >> min_alloc_order bits; behind them it reads 1 */
  unsigned long *bits;
};

/* For gen_pool_first_fit_align. */
struct genpool_data_align {
  int align; /* in bytes */
};

/* For gen_pool_fixed_alloc. */
struct genpool_data_fixed {
  unsigned long offset; /* in bytes from a chunk's start */
};

/**
 * gen_pool_create - makes an empty pool
 * @min_alloc_order: granules are of 2^min_alloc_order bytes, 0 to 63
 * @nid: the NUMA node, a hint; negative for none
 *
 * Return: the pool; NULL without memory, and for another order, which is a warning to the misuse
 * handler. errno is not set.
 */
struct gen_pool *GENPOOL_NULLABLE gen_pool_create(int min_alloc_order, int nid);

/**
 * gen_pool_destroy - ends a pool of which nothing is allocated
 * @pool: the pool
 *
 * Its recording ends, and its regions may be closed.
 *
 * Return: nothing. Fatal misuse, after which the pool lives on: anything is allocated (or held by a
 * cache), a pool of devm_gen_pool_create, a parent's pool in a forked child.
 */
void gen_pool_destroy(struct gen_pool *pool);

/**
 * gen_pool_add - adds memory without a physical address
 * @pool: the pool
 * @addr: of its first byte, not 0
 * @size: in bytes; what is less than a granule at its end is not handed out
 * @nid: without effect
 *
 * Return: 0; -EINVAL for a chunk at address 0 or that passes the end of an address space, -EEXIST
 * for one that overlaps another, -ENOMEM without memory for its map, -EPERM in a forked child
 * (fatal misuse).
 */
int gen_pool_add(struct gen_pool *pool, unsigned long addr, size_t size, int nid);

/**
 * gen_pool_add_virt - adds memory with its physical address
 * @pool: the pool
 * @addr: of its first byte, not 0
 * @phys: of its first byte; all ones for none
 * @size: in bytes
 * @nid: without effect
 *
 * Return: 0; -EINVAL for a chunk at address 0 or that passes the end of an address space, -EEXIST
 * for one that overlaps another, -ENOMEM without memory for its map, -EPERM in a forked child
 * (fatal misuse).
 */
int gen_pool_add_virt(struct gen_pool *pool, unsigned long addr, phys_addr_t phys, size_t size, int nid);

/**
 * gen_pool_add_owner - adds memory whose allocations name an owner
 * @pool: the pool
 * @virt: address of its first byte, not 0
 * @phys: of its first byte; all ones for none
 * @size: in bytes
 * @nid: without effect
 * @owner: given back with each allocation
 *
 * The memory must stay where it is until the pool ends. It is not touched, but for
 * gen_pool_dma_zalloc.
 *
 * Return: 0; -EINVAL for a chunk at address 0 or that passes the end of an address space, -EEXIST
 * for one that overlaps another, -ENOMEM without memory for its map, -EPERM in a forked child
 * (fatal misuse).
 */
int gen_pool_add_owner(struct gen_pool *pool, unsigned long virt, phys_addr_t phys, size_t size, int nid,
                       void *GENPOOL_NULLABLE owner);

/**
 * gen_pool_alloc - allocates by the pool's algorithm
 * @pool: the pool
 * @size: in bytes, rounded up to granules
 *
 * Fatal misuse: a place outside of the map or allocated, from an own algorithm; a forked child.
 *
 * Return: the address; 0 when no chunk has a place for it, and for a size of 0. errno is not set.
 */
unsigned long gen_pool_alloc(struct gen_pool *pool, size_t size);

/**
 * gen_pool_alloc_algo - allocates by another algorithm
 * @pool: the pool
 * @size: in bytes, rounded up to granules
 * @algo: chooses the place
 * @data: is passed to algo
 *
 * Fatal misuse: a place outside of the map or allocated, from an own algorithm; a forked child.
 *
 * Return: the address; 0 when no chunk has a place for it, and for a size of 0. errno is not set.
 */
unsigned long gen_pool_alloc_algo(struct gen_pool *pool, size_t size, genpool_algo_t algo,
                                  void *GENPOOL_NULLABLE data);

/**
 * gen_pool_alloc_owner - allocates by the pool's algorithm, and finds the owner
 * @pool: the pool
 * @size: in bytes, rounded up to granules
 * @owner: where the chunk's owner is stored (NULL on failure); NULL if it is not asked for
 *
 * Fatal misuse: a place outside of the map or allocated, from an own algorithm; a forked child.
 *
 * Return: the address; 0 when no chunk has a place for it, and for a size of 0. errno is not set.
 */
unsigned long gen_pool_alloc_owner(struct gen_pool *pool, size_t size,
                                   void *GENPOOL_NULLABLE *GENPOOL_NULLABLE owner);

/**
 * gen_pool_alloc_algo_owner - allocates by another algorithm, and finds the owner
 * @pool: the pool
 * @size: in bytes, rounded up to granules
 * @algo: chooses the place
 * @data: is passed to algo
 * @owner: where the chunk's owner is stored (NULL on failure); NULL if it is not asked for
 *
 * Fatal misuse: a place outside of the map or allocated, from an own algorithm; a forked child.
 *
 * Return: the address; 0 when no chunk has a place for it, and for a size of 0. errno is not set.
 */
unsigned long gen_pool_alloc_algo_owner(struct gen_pool *pool, size_t size, genpool_algo_t algo,
                                        void *GENPOOL_NULLABLE data,
                                        void *GENPOOL_NULLABLE *GENPOOL_NULLABLE owner);

/**
 * gen_pool_dma_alloc - allocates for a device
 * @pool: the pool
 * @size: in bytes, rounded up to granules
 * @dma: where the address for devices is stored, if there is memory; NULL if it is not asked for
 *
 * *dma is what gen_pool_virt_to_phys returns, as in the kernel; in the memory of a genpool_region
 * it is the bus address, because that is what a device must use.
 *
 * Return: the memory; NULL when no chunk has a place for it, for a size of 0, and where dma is
 * asked for and not known: genpool_error_text says so then. errno is not set.
 */
void *GENPOOL_NULLABLE gen_pool_dma_alloc(struct gen_pool *pool, size_t size,
                                          dma_addr_t *GENPOOL_NULLABLE dma);

/**
 * gen_pool_dma_alloc_algo - allocates for a device by another algorithm
 * @pool: the pool; NULL returns NULL
 * @size: in bytes, rounded up to granules
 * @dma: where the address for devices is stored, if there is memory; NULL if it is not asked for
 * @algo: chooses the place
 * @data: is passed to algo
 *
 * Return: the memory; NULL when no chunk has a place for it, for a size of 0, and where dma is
 * asked for and not known: genpool_error_text says so then. errno is not set.
 */
void *GENPOOL_NULLABLE gen_pool_dma_alloc_algo(struct gen_pool *GENPOOL_NULLABLE pool, size_t size,
                                               dma_addr_t *GENPOOL_NULLABLE dma, genpool_algo_t algo,
                                               void *GENPOOL_NULLABLE data);

/**
 * gen_pool_dma_alloc_align - allocates for a device at a multiple
 * @pool: the pool; NULL returns NULL
 * @size: in bytes, rounded up to granules
 * @dma: where the address for devices is stored, if there is memory; NULL if it is not asked for
 * @align: in bytes, of the virtual address; 0 and less find nothing
 *
 * In a genpool_region the bus address is aligned as well, or there is no memory.
 *
 * Return: the memory; NULL when no chunk has a place for it, for a size of 0, and where dma is
 * asked for and not known: genpool_error_text says so then. errno is not set.
 */
void *GENPOOL_NULLABLE gen_pool_dma_alloc_align(struct gen_pool *GENPOOL_NULLABLE pool, size_t size,
                                                dma_addr_t *GENPOOL_NULLABLE dma, int align);

/**
 * gen_pool_dma_zalloc - allocates zeroed memory for a device
 * @pool: the pool
 * @size: in bytes, rounded up to granules
 * @dma: where the address for devices is stored, if there is memory; NULL if it is not asked for
 *
 * Exactly size bytes are zeroed, by aligned stores that device memory tolerates.
 *
 * Return: the memory; NULL when no chunk has a place for it, for a size of 0, and where dma is
 * asked for and not known: genpool_error_text says so then. errno is not set.
 */
void *GENPOOL_NULLABLE gen_pool_dma_zalloc(struct gen_pool *pool, size_t size,
                                           dma_addr_t *GENPOOL_NULLABLE dma);

/**
 * gen_pool_dma_zalloc_algo - allocates zeroed memory for a device by another algorithm
 * @pool: the pool; NULL returns NULL
 * @size: in bytes, rounded up to granules
 * @dma: where the address for devices is stored, if there is memory; NULL if it is not asked for
 * @algo: chooses the place
 * @data: is passed to algo
 *
 * Exactly size bytes are zeroed, by aligned stores that device memory tolerates.
 *
 * Return: the memory; NULL when no chunk has a place for it, for a size of 0, and where dma is
 * asked for and not known: genpool_error_text says so then. errno is not set.
 */
void *GENPOOL_NULLABLE gen_pool_dma_zalloc_algo(struct gen_pool *GENPOOL_NULLABLE pool, size_t size,
                                                dma_addr_t *GENPOOL_NULLABLE dma, genpool_algo_t algo,
                                                void *GENPOOL_NULLABLE data);

/**
 * gen_pool_dma_zalloc_align - allocates zeroed memory for a device at a multiple
 * @pool: the pool; NULL returns NULL
 * @size: in bytes, rounded up to granules
 * @dma: where the address for devices is stored, if there is memory; NULL if it is not asked for
 * @align: in bytes, of the virtual address; 0 and less find nothing
 *
 * Exactly size bytes are zeroed, by aligned stores that device memory tolerates.
 *
 * Return: the memory; NULL when no chunk has a place for it, for a size of 0, and where dma is
 * asked for and not known: genpool_error_text says so then. errno is not set.
 */
void *GENPOOL_NULLABLE gen_pool_dma_zalloc_align(struct gen_pool *GENPOOL_NULLABLE pool, size_t size,
                                                 dma_addr_t *GENPOOL_NULLABLE dma, int align);

/**
 * gen_pool_free - frees a range
 * @pool: the pool
 * @addr: rounded down to its granule
 * @size: in bytes, rounded up to granules
 *
 * The range may be a part of an allocation, or several that are neighbours in a chunk.
 *
 * Return: nothing. Fatal misuse, and nothing is freed: a granule that is not allocated, an address
 * outside of the chunks, a range that leaves its chunk, a parent's pool in a forked child.
 */
void gen_pool_free(struct gen_pool *pool, unsigned long addr, size_t size);

/**
 * gen_pool_free_owner - frees a range, and finds the owner
 * @pool: the pool
 * @addr: rounded down to its granule
 * @size: in bytes, rounded up to granules
 * @owner: where the chunk's owner is stored (NULL on failure); NULL if it is not asked for
 *
 * Return: nothing. Fatal misuse, and nothing is freed: a granule that is not allocated, an address
 * outside of the chunks, a range that leaves its chunk, a parent's pool in a forked child.
 */
void gen_pool_free_owner(struct gen_pool *pool, unsigned long addr, size_t size,
                         void *GENPOOL_NULLABLE *GENPOOL_NULLABLE owner);

/**
 * gen_pool_virt_to_phys - finds a physical address
 * @pool: the pool
 * @addr: in a chunk
 *
 * Return: the address; all ones outside of the chunks. In a chunk without one all ones plus the
 * offset, which wraps, as in the kernel.
 */
phys_addr_t gen_pool_virt_to_phys(struct gen_pool *pool, unsigned long addr);

/**
 * gen_pool_has_addr - finds whether one chunk has a range
 * @pool: the pool
 * @start: of the range
 * @size: of the range, in bytes
 *
 * Return: true if a chunk has all of it, allocated or not.
 */
bool gen_pool_has_addr(struct gen_pool *pool, unsigned long start, size_t size);

/**
 * gen_pool_avail - counts the free bytes
 * @pool: the pool
 *
 * Return: those of all chunks that are not drained: a snapshot.
 */
size_t gen_pool_avail(struct gen_pool *pool);

/**
 * gen_pool_size - counts the bytes of all chunks
 * @pool: the pool
 *
 * Return: their number.
 */
size_t gen_pool_size(struct gen_pool *pool);

/**
 * gen_pool_for_each_chunk - visits the chunks, newest first
 * @pool: the pool
 * @func: is called for each; may use the pool, but remove no chunk
 * @data: is passed to func
 *
 * No lock is held: func may leave by longjmp, which loses some bytes of memory and nothing else.
 *
 * Return: nothing.
 */
void gen_pool_for_each_chunk(struct gen_pool *pool,
                             void (*func)(struct gen_pool *pool, struct gen_pool_chunk *chunk,
                                          void *GENPOOL_NULLABLE data),
                             void *GENPOOL_NULLABLE data);

/**
 * gen_pool_set_algo - sets the pool's algorithm
 * @pool: the pool
 * @algo: NULL for gen_pool_first_fit
 * @data: is passed to it; must stay as long as the algorithm is used
 *
 * Not while other threads use the pool.
 *
 * Return: nothing.
 */
void gen_pool_set_algo(struct gen_pool *pool, genpool_algo_t GENPOOL_NULLABLE algo,
                       void *GENPOOL_NULLABLE data);

/**
 * gen_pool_first_fit - the lowest place
 * @map: of allocated granules (1), a multiple of 64 bits long
 * @size: of the map, in granules
 * @start: the first granule that may be chosen
 * @nr: how many granules
 * @data: not used
 * @pool: min_alloc_order is read
 * @start_addr: the chunk's first address
 *
 * Return: the index of the first granule; size or more when there is no place.
 */
unsigned long gen_pool_first_fit(unsigned long *map, unsigned long size, unsigned long start,
                                 unsigned int nr, void *GENPOOL_NULLABLE data, struct gen_pool *pool,
                                 unsigned long start_addr);

/**
 * gen_pool_first_fit_align - the lowest place at a multiple
 * @map: of allocated granules (1), a multiple of 64 bits long
 * @size: of the map, in granules
 * @start: the first granule that may be chosen
 * @nr: how many granules
 * @data: a struct genpool_data_align; NULL is a fatal misuse
 * @pool: min_alloc_order is read
 * @start_addr: the chunk's first address
 *
 * Return: the index of the first granule; size or more when there is no place.
 */
unsigned long gen_pool_first_fit_align(unsigned long *map, unsigned long size, unsigned long start,
                                       unsigned int nr, void *GENPOOL_NULLABLE data,
                                       struct gen_pool *pool, unsigned long start_addr);

/**
 * gen_pool_first_fit_order_align - the lowest place at a multiple of the size, rounded up to a power of two, from the chunk's start
 * @map: of allocated granules (1), a multiple of 64 bits long
 * @size: of the map, in granules
 * @start: the first granule that may be chosen
 * @nr: how many granules
 * @data: not used
 * @pool: min_alloc_order is read
 * @start_addr: the chunk's first address
 *
 * Return: the index of the first granule; size or more when there is no place.
 */
unsigned long gen_pool_first_fit_order_align(unsigned long *map, unsigned long size, unsigned long start,
                                             unsigned int nr, void *GENPOOL_NULLABLE data,
                                             struct gen_pool *pool, unsigned long start_addr);

/**
 * gen_pool_best_fit - the lowest place in the shortest free run that is long enough
 * @map: of allocated granules (1), a multiple of 64 bits long
 * @size: of the map, in granules
 * @start: the first granule that may be chosen
 * @nr: how many granules
 * @data: not used
 * @pool: min_alloc_order is read
 * @start_addr: the chunk's first address
 *
 * Return: the index of the first granule; size or more when there is no place.
 */
unsigned long gen_pool_best_fit(unsigned long *map, unsigned long size, unsigned long start,
                                unsigned int nr, void *GENPOOL_NULLABLE data, struct gen_pool *pool,
                                unsigned long start_addr);

/**
 * gen_pool_fixed_alloc - the place at an offset
 * @map: of allocated granules (1), a multiple of 64 bits long
 * @size: of the map, in granules
 * @start: the first granule that may be chosen
 * @nr: how many granules
 * @data: a struct genpool_data_fixed; NULL is a fatal misuse
 * @pool: min_alloc_order is read
 * @start_addr: the chunk's first address
 *
 * An offset inside a granule is a warning to the misuse handler.
 *
 * Return: the index of the first granule; size or more when there is no place.
 */
unsigned long gen_pool_fixed_alloc(unsigned long *map, unsigned long size, unsigned long start,
                                   unsigned int nr, void *GENPOOL_NULLABLE data, struct gen_pool *pool,
                                   unsigned long start_addr);

/**
 * devm_gen_pool_create - makes a pool that ends with its device
 * @dev: of genpool_device_get
 * @min_alloc_order: granules are of 2^min_alloc_order bytes, 0 to 63
 * @nid: the NUMA node, a hint; negative for none
 * @name: by which gen_pool_get finds it; NULL for the pool without one
 *
 * Return: the pool, or an ERR_PTR: -EINVAL for a name that the device has, for another order, and
 * without memory.
 */
struct gen_pool *GENPOOL_NULLABLE devm_gen_pool_create(struct device *dev, int min_alloc_order, int nid,
                                                       const char *GENPOOL_NULLABLE name);

/**
 * gen_pool_get - finds a pool of a device
 * @dev: of genpool_device_get
 * @name: the pool's; NULL for the one without a name
 *
 * Return: the pool; NULL when there is none.
 */
struct gen_pool *GENPOOL_NULLABLE gen_pool_get(struct device *dev, const char *GENPOOL_NULLABLE name);

/**
 * of_gen_pool_get - finds a pool by the device tree
 * @np: of genpool_node_get
 * @propname: a property of phandles
 * @index: which of them, from 0
 *
 * The phandle leads to a device that has a handle here, else to its parent's pool that has the
 * node's label for a name, else its full name. An empty label finds nothing.
 *
 * Return: the pool; NULL when there is none.
 */
struct gen_pool *GENPOOL_NULLABLE of_gen_pool_get(struct device_node *np, const char *propname, int index);

/* ---- What user space needs besides -------------------------------------------------------- */

/*
 * Told of every misuse: fatal = 1 where the kernel says BUG, 0 where it WARNs. If it returns, the call
 * has no effect. Without a handler (NULL) the message goes to stderr, and what is fatal aborts. To be set
 * before other threads use the library.
 */
typedef void (*genpool_misuse_handler_t)(int fatal, const char *message, void *GENPOOL_NULLABLE context);

/**
 * genpool_set_misuse_handler - sets what is called on misuse
 * @handler: NULL prints to stderr, and what is fatal aborts
 * @context: is passed to handler
 *
 * Before other threads use the library. No lock of a pool is held while it runs, but that of an own
 * algorithm's chunk when the algorithm is to blame, and that of a record (genpool_record) when an
 * allocation is warned of: do not leave it by longjmp then, nor use the pool in it.
 *
 * Return: nothing.
 */
void genpool_set_misuse_handler(genpool_misuse_handler_t GENPOOL_NULLABLE handler,
                                void *GENPOOL_NULLABLE context);

/*
 * The functions from here on return 0 or a negative errno, and give what they made through their last
 * parameter. Every struct begins with its size: set it to sizeof, and the rest to 0 before use.
 */

/**
 * genpool_error_text - explains the last failure in this thread
 *
 * Return: a line, valid until the next failure in this thread; "" before the first. Never NULL.
 */
const char *genpool_error_text(void);

/**
 * genpool_version - names the library's version
 *
 * Return: "1.2.3"; never NULL.
 */
const char *genpool_version(void);

/**
 * genpool_guard_faults - makes errors of SIGBUS
 *
 * From now on memory of genpool_regions that stops answering makes errors of genpool_ functions:
 * installs a handler for that signal, which nothing else here does.
 *
 * Return: 0, or the negative errno of sigaction(2).
 */
int genpool_guard_faults(void);

/**
 * genpool_device_get - opens a handle of a device
 * @sysfs_root: NULL is $GENPOOL_SYSFS_ROOT, else /sys
 * @name: "0000:01:00.0", or a path below sysfs_root ("devices/platform/soc/100000.sram")
 * @device: where the handle is stored
 *
 * Handles of one device share its pools, which end with the last handle.
 *
 * Return: 0; -ENODEV when there is no such device, -EINVAL when device is NULL.
 */
int genpool_device_get(const char *GENPOOL_NULLABLE sysfs_root, const char *name,
                       struct device *GENPOOL_NULLABLE *GENPOOL_NULLABLE device);

/**
 * genpool_device_put - gives a handle back
 * @device: the handle; NULL does nothing
 *
 * Return: 0; -EBUSY, and the handle stays, while a pool of the device has anything allocated;
 * -EPERM in a forked child.
 */
int genpool_device_put(struct device *GENPOOL_NULLABLE device);

/**
 * genpool_node_get - opens a handle of a device-tree node
 * @sysfs_root: NULL is $GENPOOL_SYSFS_ROOT, else /sys
 * @path: in firmware/devicetree/base there: "/soc/dma@10000"
 * @node: where the handle is stored
 *
 * Return: 0; -ENOENT when there is no such node, -EINVAL when node is NULL.
 */
int genpool_node_get(const char *GENPOOL_NULLABLE sysfs_root, const char *path,
                     struct device_node *GENPOOL_NULLABLE *GENPOOL_NULLABLE node);

/**
 * genpool_node_put - gives a handle back
 * @node: the handle; NULL does nothing
 *
 * Return: nothing.
 */
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

/** GENPOOL_NO_ADDRESS - the value of an address that is not known */
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

/**
 * genpool_region_open - opens and maps memory of a device
 * @options: which memory, and how
 * @region: where the handle is stored
 *
 * The device is enabled, kept from drivers, locked against other users and, if it is a controller's
 * memory, made to appear; closing undoes that. Its address is aligned as its physical address is.
 * Forked children do not have it.
 *
 * Return: 0; -EINVAL for options that mean nothing, -E2BIG for a field that this version does not
 * know, -ENODEV when there is no such device or memory, or it does not answer, -EBUSY when a driver
 * or another process has it, -EPERM when a rule or the kernel's lockdown forbids it, -ETIMEDOUT and
 * -EIO from a controller that does not make it appear, or the errno of a system call.
 */
int genpool_region_open(const struct genpool_region_options *options,
                        struct genpool_region *GENPOOL_NULLABLE *GENPOOL_NULLABLE region);

/**
 * genpool_region_describe - finds what was opened
 * @region: the handle
 * @facts: its size is set; the rest is filled in as far as that reaches
 *
 * Return: 0; -EINVAL for a size that is none.
 */
int genpool_region_describe(struct genpool_region *region, struct genpool_region_facts *facts);

/**
 * genpool_region_add - makes a region a chunk of a pool
 * @region: the handle, which stays the caller's
 * @pool: keeps it mapped until it is destroyed or loses the chunk
 * @owner: given back with each allocation
 *
 * Return: 0; -EINVAL for registers and as gen_pool_add, -EEXIST, -ENOMEM, -EPERM in a forked child.
 */
int genpool_region_add(struct genpool_region *region, struct gen_pool *pool, void *GENPOOL_NULLABLE owner);

/**
 * genpool_region_take_back - takes a region out of a pool that lives on
 * @region: the handle
 * @pool: of which it is a chunk
 *
 * Return: 0; -EBUSY, and nothing happens, while anything is allocated there (genpool_chunk_drain
 * keeps new allocations out), -EFAULT when the pool does not have it, -EPERM in a forked child.
 */
int genpool_region_take_back(struct genpool_region *region, struct gen_pool *pool);

/**
 * genpool_region_close - unmaps and closes a region
 * @region: the handle; NULL does nothing
 *
 * Return: 0; -EBUSY while a pool or a DMA mapping has it, -EPERM in a forked child.
 */
int genpool_region_close(struct genpool_region *GENPOOL_NULLABLE region);

/**
 * genpool_bus_address - finds a bus address
 * @pool: the pool
 * @addr: in a chunk
 * @bus: where it is stored
 *
 * Return: 0; -ENXIO where there is none, or it is not known.
 */
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

/**
 * genpool_dma_alloc - allocates under constraints
 * @pool: the pool
 * @size: in bytes, rounded up to granules
 * @constraints: what a device asks of the memory
 * @dma: where the address for devices is stored, if there is memory; NULL if it is not asked for
 * @memory: where its address is stored
 *
 * A chunk without a bus address meets no constraint on it. gen_pool_free frees.
 *
 * Return: 0; -ENOMEM when no chunk has as much free, -ENOSPC when it is free in pieces, -EINVAL for
 * what can never be, -E2BIG for a constraint that this version does not know, -ENXIO when dma is
 * asked for and not known, -EPERM in a forked child (fatal misuse).
 */
int genpool_dma_alloc(struct gen_pool *pool, size_t size, const struct genpool_constraints *constraints,
                      dma_addr_t *GENPOOL_NULLABLE dma,
                      void *GENPOOL_NULLABLE *GENPOOL_NULLABLE memory);

/* A device that does DMA, which has its own address for every piece of memory. */
struct genpool_initiator;

/**
 * genpool_initiator_get - opens a handle of a device that does DMA
 * @sysfs_root: NULL is $GENPOOL_SYSFS_ROOT, else /sys
 * @device: "0000:01:00.0"
 * @source: enum genpool_source
 * @initiator: where the handle is stored
 *
 * Return: 0; -EINVAL for what is no PCI address or source, -ENODEV, -EBUSY, -EPERM as
 * genpool_region_open.
 */
int genpool_initiator_get(const char *GENPOOL_NULLABLE sysfs_root, const char *device, uint32_t source,
                          struct genpool_initiator *GENPOOL_NULLABLE *GENPOOL_NULLABLE initiator);

/**
 * genpool_initiator_enable - lets a device do DMA (bus mastering), until the last of its regions is closed
 * @initiator: the handle
 *
 * Return: 0; -EPERM in a forked child, -EINVAL or -ENODEV without a region that is open, or the
 * errno of a system call.
 */
int genpool_initiator_enable(struct genpool_initiator *initiator);

/**
 * genpool_initiator_put - gives a handle back
 * @initiator: the handle; NULL does nothing
 *
 * Return: nothing. A forked child keeps it.
 */
void genpool_initiator_put(struct genpool_initiator *GENPOOL_NULLABLE initiator);

/*
 * By which address an initiator reaches size bytes of a pool: its IOVA, which is mapped for it, or the
 * bus address where nothing translates. Good until it is unmapped; -EHOSTUNREACH if there is no way.
 */
struct genpool_dma_mapping;

/**
 * genpool_dma_map - makes memory of a pool reachable
 * @initiator: the device that will use it
 * @pool: the pool
 * @addr: in a chunk
 * @size: in bytes
 * @address: where the initiator's address is stored: its IOVA, or the bus address where nothing
 *   translates
 * @mapping: where the handle is stored
 *
 * The address is good until genpool_dma_unmap.
 *
 * Return: 0; -EINVAL for memory that the pool does not have, -EHOSTUNREACH if there is no way,
 * -EPERM in a forked child, or the errno of a system call.
 */
int genpool_dma_map(struct genpool_initiator *initiator, struct gen_pool *pool, unsigned long addr,
                    size_t size, uint64_t *address,
                    struct genpool_dma_mapping *GENPOOL_NULLABLE *GENPOOL_NULLABLE mapping);

/**
 * genpool_dma_unmap - ends a mapping
 * @mapping: the handle; NULL does nothing
 *
 * Return: nothing. A forked child keeps it.
 */
void genpool_dma_unmap(struct genpool_dma_mapping *GENPOOL_NULLABLE mapping);

/**
 * genpool_chunk_drain - keeps new allocations out of a chunk
 * @pool: the pool
 * @start_addr: the chunk's first address
 *
 * Return: 0; -EFAULT for an address that begins no chunk, -EPERM in a forked child.
 */
int genpool_chunk_drain(struct gen_pool *pool, unsigned long start_addr);

/**
 * genpool_chunk_undrain - lets a drained chunk be allocated from
 * @pool: the pool
 * @start_addr: the chunk's first address
 *
 * Return: 0; -EFAULT for an address that begins no chunk, -EPERM in a forked child.
 */
int genpool_chunk_undrain(struct gen_pool *pool, unsigned long start_addr);

/**
 * genpool_chunk_remove - takes a chunk out of a pool that lives on
 * @pool: the pool
 * @start_addr: the chunk's first address
 *
 * Not while gen_pool_for_each_chunk runs.
 *
 * Return: 0; -EBUSY, and nothing happens, while anything is allocated there, -EFAULT for an address
 * that begins no chunk, -EPERM in a forked child.
 */
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

/**
 * genpool_pool_statistics - counts
 * @pool: the pool
 * @statistics: its size is set; the rest is filled in as far as that reaches
 *
 * Return: 0; -EINVAL for a size that is none.
 */
int genpool_pool_statistics(struct gen_pool *pool, struct genpool_statistics *statistics);

/**
 * genpool_alloc_batch - allocates several times, or not at all
 * @pool: the pool
 * @size: of each, in bytes
 * @count: how many; 0 does nothing
 * @addrs: where as many addresses are stored; they mean nothing on failure
 *
 * The addresses are those that as many calls of gen_pool_alloc, one after another, would return.
 * Other threads see all of the batch allocated or nothing, and wait until it is: an own algorithm
 * is called with more locks than one held.
 *
 * Return: 0; -ENOMEM when no chunk has size bytes left for one of them, -ENOSPC when no free
 * run fits, -EINVAL for a size of 0, for a count above LONG_MAX, and for an algorithm whose
 * data or whose answer names no place, -EPERM in a forked child (fatal misuse).
 */
int genpool_alloc_batch(struct gen_pool *pool, size_t size, size_t count, unsigned long *addrs);

/**
 * genpool_free_batch - frees several ranges, or none
 * @pool: the pool
 * @size: of each, in bytes
 * @count: how many; 0 does nothing
 * @addrs: in any order
 *
 * Return: 0; -EINVAL when one of them is not allocated, occurs twice or leaves its chunk,
 * -EFAULT outside of the chunks, -ENODEV where a chunk was taken back, -EPERM in a forked child
 * (fatal misuse).
 */
int genpool_free_batch(struct gen_pool *pool, size_t size, size_t count, const unsigned long *addrs);

/**
 * genpool_tag - notes whose memory is
 * @pool: the pool
 * @addr: of allocated memory
 * @size: in bytes
 * @tag: a number that the pool's users agree on; 0 for none
 *
 * Kept outside of the memory; a free forgets it.
 *
 * Return: 0; -EFAULT outside of the chunks, -ENODEV where a chunk was taken back, -EINVAL for
 * what is not allocated, -ENOMEM, -EPERM in a forked child.
 */
int genpool_tag(struct gen_pool *pool, unsigned long addr, size_t size, uint32_t tag);

/**
 * genpool_for_each_holding - visits what is allocated, newest chunk first
 * @pool: the pool
 * @f: is called for each run of one tag; may use the pool
 * @data: is passed to f
 *
 * A snapshot. f may leave by longjmp, which loses the snapshot's memory and nothing else.
 *
 * Return: nothing.
 */
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

/**
 * genpool_cache_create - makes a thread's own stock of small allocations
 * @pool: the pool
 * @largest: the largest size that it serves (64 granules for 0, and at most)
 * @limit: the most bytes that it holds (256 granules for 0)
 * @cache: where the handle is stored
 *
 * At any place, where gen_pool_alloc has the kernel's, and without the pool's locks. One thread at
 * a time uses it. What it holds counts as allocated, so that gen_pool_destroy takes it for a misuse
 * until the cache is flushed or destroyed. In a program with the thread sanitizer it holds nothing.
 *
 * Return: 0; -ENOMEM, -EINVAL when cache is NULL, -EPERM in a forked child.
 */
int genpool_cache_create(struct gen_pool *pool, size_t largest, size_t limit,
                         struct genpool_cache *GENPOOL_NULLABLE *GENPOOL_NULLABLE cache);

/**
 * genpool_cache_alloc - allocates at any place
 * @cache: the handle
 * @size: in bytes, rounded up to granules; more than largest comes from the pool, by the first fit
 *
 * Return: the address; 0 when no chunk has a place for it, and for a size of 0. errno is not set.
 */
unsigned long genpool_cache_alloc(struct genpool_cache *cache, size_t size);

/**
 * genpool_cache_free - frees into a cache
 * @cache: the handle
 * @addr: rounded down to its granule
 * @size: in bytes, rounded up to granules
 *
 * May free what the pool handed out, as gen_pool_free what a cache did.
 *
 * Return: nothing. Fatal misuse: as gen_pool_free.
 */
void genpool_cache_free(struct genpool_cache *cache, unsigned long addr, size_t size);

/**
 * genpool_cache_flush - gives all that it holds back to the pool
 * @cache: the handle
 *
 * Return: 0; -EPERM in a forked child.
 */
int genpool_cache_flush(struct genpool_cache *cache);

/**
 * genpool_cache_destroy - flushes and ends a cache
 * @cache: the handle; NULL does nothing
 *
 * Return: nothing. What it handed out stays allocated.
 */
void genpool_cache_destroy(struct genpool_cache *GENPOOL_NULLABLE cache);

/**
 * genpool_record - writes all calls of a pool to a file from now on
 * @pool: the pool
 * @path: of a file that is not there yet
 *
 * `genpool-bench replay` makes the calls again and compares the answers. No other thread may use
 * the pool during this call. Calls that follow are made one after the other, and own algorithms are
 * called with the record locked. Where there is no record for a call (a cache, a drained or removed
 * chunk, a place in an older chunk by an own algorithm or by constraints) the record ends with a
 * comment: it is partial.
 *
 * Return: 0; -EEXIST when there is such a file, -EALREADY while the pool is recorded, -EOPNOTSUPP
 * for a pool that had a cache or has a drained chunk, or the errno of open(2) or write(2).
 */
int genpool_record(struct gen_pool *pool, const char *path);

/**
 * genpool_record_end - ends a pool's record
 * @pool: the pool
 *
 * gen_pool_destroy ends it as well. No other thread may use the pool during this call.
 *
 * Return: 0 if all calls are in it; -EOPNOTSUPP for a partial one that a call ended, or the errno
 * of the write(2) that failed (-ENOSPC); genpool_error_text names the line. -ENOENT when the pool
 * is not recorded by this process.
 */
int genpool_record_end(struct gen_pool *pool);

#ifdef __cplusplus
}
#endif

#if defined(__swift__)
#pragma clang assume_nonnull end
#endif

#endif
