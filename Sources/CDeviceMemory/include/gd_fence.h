/*
 * Fences between the CPU and a device: Linux's wmb(), rmb() and mb().
 *
 * Why C: Swift's atomics order threads with one another. They emit nothing that drains
 * write-combining buffers or orders uncached accesses.
 */
#pragma once

/* Stores before it reach the device before stores after it; drains write-combining buffers. */
static inline void gd_fence_stores(void) {
#if defined(__x86_64__) || defined(__i386__)
  __asm__ volatile("sfence" ::: "memory");
#elif defined(__aarch64__)
  __asm__ volatile("dsb st" ::: "memory");
#else
  __sync_synchronize();
#endif
}

/* Loads before it are done before loads after it start. */
static inline void gd_fence_loads(void) {
#if defined(__x86_64__) || defined(__i386__)
  __asm__ volatile("lfence" ::: "memory");
#elif defined(__aarch64__)
  __asm__ volatile("dsb ld" ::: "memory");
#else
  __sync_synchronize();
#endif
}

/* Both, and stores against later loads. */
static inline void gd_fence_all(void) {
#if defined(__x86_64__) || defined(__i386__)
  __asm__ volatile("mfence" ::: "memory");
#elif defined(__aarch64__)
  __asm__ volatile("dsb sy" ::: "memory");
#else
  __sync_synchronize();
#endif
}
