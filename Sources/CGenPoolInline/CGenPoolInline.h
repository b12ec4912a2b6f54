/*
 * What GenPool needs of the C library and the kernel, and Swift cannot say without importing
 * Glibc: a futex, a page that the kernel wipes in a forked child, zeroed memory that may fail, and
 * stores that the compiler must neither merge nor drop. Header only: nothing to link.
 */
#pragma once

#include <linux/futex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Sleeps while *word == expected; returns at once otherwise, and on wake-ups of any kind. */
static inline void gp_futex_wait(uint32_t *word, uint32_t expected) {
  (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

/* Wakes one thread that sleeps on word. */
static inline void gp_futex_wake(uint32_t *word) {
  (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Eases the neighbouring hyperthread while a lock is spun on. */
static inline void gp_spin_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/*
 * A zeroed word that reads 0 again in every forked child (Linux 4.14); NULL without memory or on a
 * kernel that cannot.
 */
static inline void *gp_fork_word(void) {
  void *page = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return NULL;
  if (madvise(page, (size_t)sysconf(_SC_PAGESIZE), MADV_WIPEONFORK) != 0) {
    (void)munmap(page, (size_t)sysconf(_SC_PAGESIZE));
    return NULL;
  }
  return page;
}

/*
 * size zeroed bytes and slack more, so that the caller can move up to a border; or NULL. Large ones
 * come from the kernel untouched, so this takes no time.
 */
static inline void *gp_zeroed_allocate(size_t size, size_t slack) {
  if (size > SIZE_MAX - slack) return NULL;
  return calloc(1, size + slack);
}

static inline void gp_zeroed_free(void *base) { free(base); }

#ifdef __SSE2__
#include <emmintrin.h>

/*
 * Of 64 bytes (a cache line, each at most 127), which are at least length (1 ... 127): bit i for byte
 * i. Swift has no movemask. SSE2 is in every x86-64.
 */
__attribute__((always_inline)) static inline uint64_t gp_line_reaching(const uint8_t *line, uint8_t length) {
  const __m128i *quarter = (const __m128i *)line;
  const __m128i less = _mm_set1_epi8((char)(length - 1));
  uint64_t a = (uint32_t)_mm_movemask_epi8(_mm_cmpgt_epi8(quarter[0], less));
  uint64_t b = (uint32_t)_mm_movemask_epi8(_mm_cmpgt_epi8(quarter[1], less));
  uint64_t c = (uint32_t)_mm_movemask_epi8(_mm_cmpgt_epi8(quarter[2], less));
  uint64_t d = (uint32_t)_mm_movemask_epi8(_mm_cmpgt_epi8(quarter[3], less));
  return (a | b << 16) | (c | d << 16) << 32;
}

/* The largest of 64 bytes, byte number except apart. */
__attribute__((always_inline)) static inline uint8_t gp_line_longest(const uint8_t *line, uint8_t except) {
  static const uint8_t hole[128] __attribute__((aligned(64))) = {[63] = 255};
  const __m128i *quarter = (const __m128i *)line;
  const __m128i *omit = (const __m128i *)(hole + 63 - except);
  __m128i a = _mm_andnot_si128(_mm_loadu_si128(omit), quarter[0]);
  __m128i b = _mm_andnot_si128(_mm_loadu_si128(omit + 1), quarter[1]);
  __m128i c = _mm_andnot_si128(_mm_loadu_si128(omit + 2), quarter[2]);
  __m128i d = _mm_andnot_si128(_mm_loadu_si128(omit + 3), quarter[3]);
  a = _mm_max_epu8(_mm_max_epu8(a, b), _mm_max_epu8(c, d));
  a = _mm_max_epu8(a, _mm_shuffle_epi32(a, 0x4e));
  a = _mm_max_epu8(a, _mm_shuffle_epi32(a, 0xb1));
  a = _mm_max_epu8(a, _mm_shufflelo_epi16(a, 0xb1));
  a = _mm_max_epu8(a, _mm_srli_epi16(a, 8));
  return (uint8_t)_mm_cvtsi128_si32(a);
}
#endif

#ifdef __x86_64__
#include <immintrin.h>

/* Whether this machine compares a cache line at once. */
static inline bool gp_has_wide_lines(void) { return __builtin_cpu_supports("avx512bw"); }

/*
 * Down a tree of nodes of 64 bytes, in which child c of node i is node 64 i + 1 + c: in each of depth
 * levels to the first child of at least length, which there is. The last node, times 64, plus its child.
 */
__attribute__((target("avx512bw,bmi"))) static inline size_t gp_descend_wide(
    const uint8_t *root, size_t depth, uint8_t length) {
  const __m512i wanted = _mm512_set1_epi8((char)length);
  size_t place = 0;
  for (;;) {
    const __m512i line = _mm512_load_si512(root + (place & ~(size_t)63));
    place = (place & ~(size_t)63) + _tzcnt_u64(_mm512_cmpge_epu8_mask(line, wanted));
    if (--depth == 0) return place;
    place = (place + 1) * 64;
  }
}
#endif

/*
 * Zeroes memory that may be a device's: naturally aligned stores of one width at a time, because
 * device memory need not tolerate what memset does (vector stores, string instructions, dc zva).
 */
static inline void gp_zero(uint64_t address, uint64_t size) {
  volatile uint8_t *byte = (volatile uint8_t *)(uintptr_t)address;
  for (; size > 0 && ((uintptr_t)byte & 7) != 0; size--) *byte++ = 0;
  volatile uint64_t *word = (volatile uint64_t *)byte;
  for (; size >= 8; size -= 8) *word++ = 0;
  byte = (volatile uint8_t *)word;
  for (; size > 0; size--) *byte++ = 0;
  /* Out of the write-combining buffers before anybody tells a device of this memory. */
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
