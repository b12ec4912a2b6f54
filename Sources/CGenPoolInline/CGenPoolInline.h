/*
 * What GenPool needs of the C library and the kernel, and Swift cannot say without importing
 * Glibc: a futex, a barrier for all threads, a page that the kernel wipes in a forked child, zeroed
 * memory that may fail and is taken when it is touched, a search in words by vectors, and stores
 * that the compiler must neither merge nor drop. Header only: nothing to link.
 */
#pragma once

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Sleeps while *word == expected; returns at once otherwise, and on wake-ups of any kind. */
static inline void gp_futex_wait(uint32_t *word, uint32_t expected) {
  (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

/* The same for a millisecond at most. */
static inline void gp_futex_wait_briefly(uint32_t *word, uint32_t expected) {
  const struct timespec time = {0, 1000000};
  (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, &time, NULL, 0);
}

/* Wakes one thread that sleeps on word. */
static inline void gp_futex_wake(uint32_t *word) {
  (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/*
 * The thread sanitizer's runtime, in a program that was built with it; NULL in others. It follows a
 * library that was not built with it by these calls alone, and would report a race between a thread
 * that frees memory and another that is given it.
 */
extern void __tsan_acquire(void *address) __attribute__((weak));
extern void __tsan_release(void *address) __attribute__((weak));

/* Whether it has to be called: not by code that it follows anyway. */
static inline bool gp_has_thread_sanitizer(void) {
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
  return false;
#endif
#endif
  return __tsan_acquire && __tsan_release;
}

/* Reports that what other threads did before they released at address happened before now. */
static inline void gp_report_acquire(void *address) {
  if (__tsan_acquire) __tsan_acquire(address);
}

/* Reports that what this thread did happens before what others do that acquire at address. */
static inline void gp_report_release(void *address) {
  if (__tsan_release) __tsan_release(address);
}

/* Keeps the compiler from moving memory accesses across. */
static inline void gp_compiler_barrier(void) { __asm__ volatile("" ::: "memory"); }

/* Registers the process for gp_barrier_for_all; false where the kernel has no such thing (Linux 4.14). */
static inline bool gp_register_barrier_for_all(void) {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/*
 * A full barrier in every running thread of the process, at some point during the call; false when there
 * was none.
 */
static inline bool gp_barrier_for_all(void) {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

/*
 * Bytes that one thread writes and others read, one by one or eight at a time: what is read of
 * each is one that was written. The lowest byte is the lowest of the word.
 */
static inline void gp_store_byte(unsigned char *byte, unsigned char value) {
  __atomic_store_n(byte, value, __ATOMIC_RELEASE);
}
static inline uint64_t gp_load_eight(const unsigned char *bytes) {
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "rows are read with the lowest byte first"
#endif
  return __atomic_load_n((const uint64_t *)(const void *)bytes, __ATOMIC_ACQUIRE);
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

/* From this size on, memory is mapped: it is had untouched, and goes back when it is freed. */
#define GP_MAPPED_SIZE ((size_t)128 << 10)
/* From this size on, what is zeroed goes back to the kernel; less is sooner written than had anew. */
#define GP_DISCARDED_SIZE ((size_t)16 << 20)
/* From this size on, a huge page for each place that is touched would be most of what is used. */
#define GP_SPARSE_SIZE ((size_t)64 << 20)

/* What malloc lacks to give a cache line's border. */
#define GP_LINE_SLACK ((size_t)48)

/*
 * size zeroed bytes behind the next border of a cache line; NULL without memory or address space. What
 * is never touched takes no memory, and is not counted as if it did: unless the machine counts
 * everything (vm.overcommit_memory = 2).
 */
static inline void *gp_zeroed_allocate(size_t size) {
  if (size > SIZE_MAX / 2) return NULL;
  /* aligned_alloc would leave small pieces behind, which are more than this is less. */
  if (size < GP_MAPPED_SIZE) return calloc(1, size + GP_LINE_SLACK);
  void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return NULL;
  /* Fails where there are no huge pages: just as well. */
  if (size >= GP_SPARSE_SIZE) (void)madvise(base, size, MADV_NOHUGEPAGE);
  return base;
}

/* Gives back what gp_zeroed_allocate gave for this size. */
static inline void gp_zeroed_free(void *base, size_t size) {
  if (size < GP_MAPPED_SIZE) {
    free(base);
  } else {
    (void)munmap(base, size);
  }
}

/* Sets a part of what gp_zeroed_allocate gave to one value. */
static inline void gp_fill(void *start, uint8_t value, size_t size) {
  if (value == 0 && size >= GP_DISCARDED_SIZE) {
    /* So much of it is mapped. The whole pages go back, unless they are locked. */
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t first = ((uintptr_t)start + page - 1) & ~(page - 1);
    const uintptr_t end = ((uintptr_t)start + size) & ~(page - 1);
    if (madvise((void *)first, end - first, MADV_DONTNEED) == 0) {
      memset(start, 0, first - (uintptr_t)start);
      memset((void *)end, 0, (uintptr_t)start + size - end);
      return;
    }
  }
  memset(start, value, size);
}

/* Four words, wherever they lie: two or one of the machine's vectors. */
typedef uint64_t gp_quad __attribute__((vector_size(32), aligned(8)));

/*
 * Of a map's words first ... end - 1 (1 = taken), the first from one of whose positions on length
 * granules, 1 to 64, are free, those of the word behind it, which there is, included; end when there is
 * none.
 */
static inline size_t gp_first_word(
    const uint64_t *taken, size_t first, size_t end, unsigned length, uint64_t positions) {
  /* Twice as long runs in each step, which overlap in the last. */
  unsigned shifts[6], steps = 0;
  for (unsigned have = 1; have < length; have += shifts[steps++]) {
    shifts[steps] = have < length - have ? have : length - have;
  }
  for (size_t word = first; word < end; word += 4) {
    uint64_t rest[5] = {~0ull, ~0ull, ~0ull, ~0ull, ~0ull};
    const uint64_t *words = taken + word;
    if (end - word < 4) words = memcpy(rest, words, (end - word + 1) * sizeof *rest);
    gp_quad from = ~*(const gp_quad *)words, behind = ~*(const gp_quad *)(words + 1);
    for (unsigned step = 0; step < steps; step++) {
      from &= from >> shifts[step] | behind << (64 - shifts[step]);
      behind &= behind >> shifts[step];
    }
    from &= positions;
    if (from[0] | from[1] | from[2] | from[3]) {
      size_t place = word;
      for (unsigned number = 0; !from[number]; number++) place++;
      return place;
    }
  }
  return end;
}

#ifdef __SSE2__
#include <emmintrin.h>

/*
 * Of 64 bytes (a cache line, each at most 127), which are at most most (0 ... 126): bit i for byte i.
 * Swift has no movemask. SSE2 is in every x86-64.
 */
__attribute__((always_inline)) static inline uint64_t gp_line_within(const uint8_t *line, uint8_t most) {
  const __m128i *quarter = (const __m128i *)line;
  const __m128i more = _mm_set1_epi8((char)(most + 1));
  uint64_t a = (uint32_t)_mm_movemask_epi8(_mm_cmpgt_epi8(more, quarter[0]));
  uint64_t b = (uint32_t)_mm_movemask_epi8(_mm_cmpgt_epi8(more, quarter[1]));
  uint64_t c = (uint32_t)_mm_movemask_epi8(_mm_cmpgt_epi8(more, quarter[2]));
  uint64_t d = (uint32_t)_mm_movemask_epi8(_mm_cmpgt_epi8(more, quarter[3]));
  return (a | b << 16) | (c | d << 16) << 32;
}

/*
 * The least bytes of a line, by their place in four bytes; in each four of the result. Bytes for
 * which omit, as long as a line, has bits are left out.
 */
__attribute__((always_inline)) static inline __m128i gp_least_of_fours(const uint8_t *line, const uint8_t *omit) {
  const __m128i *quarter = (const __m128i *)line;
  const __m128i *hole = (const __m128i *)omit;
  __m128i a = _mm_or_si128(_mm_loadu_si128(hole), quarter[0]);
  __m128i b = _mm_or_si128(_mm_loadu_si128(hole + 1), quarter[1]);
  __m128i c = _mm_or_si128(_mm_loadu_si128(hole + 2), quarter[2]);
  __m128i d = _mm_or_si128(_mm_loadu_si128(hole + 3), quarter[3]);
  a = _mm_min_epu8(_mm_min_epu8(a, b), _mm_min_epu8(c, d));
  a = _mm_min_epu8(a, _mm_shuffle_epi32(a, 0x4e));
  return _mm_min_epu8(a, _mm_shuffle_epi32(a, 0xb1));
}

/* The least of 64 bytes, byte number except apart: 0 to 63, or 64 for none. */
__attribute__((always_inline)) static inline uint8_t gp_line_least(const uint8_t *line, uint8_t except) {
  static const uint8_t hole[128] __attribute__((aligned(64))) = {[64] = 255};
  __m128i a = gp_least_of_fours(line, hole + 64 - except);
  a = _mm_min_epu8(a, _mm_shufflelo_epi16(a, 0xb1));
  a = _mm_min_epu8(a, _mm_srli_epi16(a, 8));
  return (uint8_t)_mm_cvtsi128_si32(a);
}

/* The least of each of the four bytes, entry number except apart: 0 to 15, or 16 for none. */
__attribute__((always_inline)) static inline uint32_t gp_entries_least(const uint32_t *line, uint32_t except) {
  static const uint32_t hole[32] __attribute__((aligned(64))) = {[16] = UINT32_MAX};
  return (uint32_t)_mm_cvtsi128_si32(
      gp_least_of_fours((const uint8_t *)line, (const uint8_t *)(hole + 16 - except)));
}
#elif defined(__aarch64__)
#include <arm_neon.h>

/*
 * The same with NEON, which is in every arm64 and has no movemask: each byte leaves the bit of its
 * place in eight, and sums of neighbours bring those together.
 */
__attribute__((always_inline)) static inline uint64_t gp_line_within(const uint8_t *line, uint8_t most) {
  const uint8x16_t limit = vdupq_n_u8(most);
  const uint8x16_t bits = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
  uint8x16_t a = vandq_u8(vcleq_u8(vld1q_u8(line), limit), bits);
  uint8x16_t b = vandq_u8(vcleq_u8(vld1q_u8(line + 16), limit), bits);
  uint8x16_t c = vandq_u8(vcleq_u8(vld1q_u8(line + 32), limit), bits);
  uint8x16_t d = vandq_u8(vcleq_u8(vld1q_u8(line + 48), limit), bits);
  /* 64 bytes become 32, 16, and 8, the lowest first. */
  a = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
  return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(a, a)), 0);
}

__attribute__((always_inline)) static inline uint8_t gp_line_least(const uint8_t *line, uint8_t except) {
  const uint8_t numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const uint8x16_t hole = vsubq_u8(vdupq_n_u8(except), vld1q_u8(numbers));
  uint8x16_t a = vorrq_u8(vld1q_u8(line), vceqq_u8(hole, vdupq_n_u8(0)));
  uint8x16_t b = vorrq_u8(vld1q_u8(line + 16), vceqq_u8(hole, vdupq_n_u8(16)));
  uint8x16_t c = vorrq_u8(vld1q_u8(line + 32), vceqq_u8(hole, vdupq_n_u8(32)));
  uint8x16_t d = vorrq_u8(vld1q_u8(line + 48), vceqq_u8(hole, vdupq_n_u8(48)));
  return vminvq_u8(vminq_u8(vminq_u8(a, b), vminq_u8(c, d)));
}

__attribute__((always_inline)) static inline uint32_t gp_entries_least(const uint32_t *line, uint32_t except) {
  const uint8_t *bytes = (const uint8_t *)line;
  const uint32_t numbers[4] = {0, 1, 2, 3};
  const uint32x4_t hole = vsubq_u32(vdupq_n_u32(except), vld1q_u32(numbers));
  uint8x16_t a = vorrq_u8(vld1q_u8(bytes), vreinterpretq_u8_u32(vceqq_u32(hole, vdupq_n_u32(0))));
  uint8x16_t b = vorrq_u8(vld1q_u8(bytes + 16), vreinterpretq_u8_u32(vceqq_u32(hole, vdupq_n_u32(4))));
  uint8x16_t c = vorrq_u8(vld1q_u8(bytes + 32), vreinterpretq_u8_u32(vceqq_u32(hole, vdupq_n_u32(8))));
  uint8x16_t d = vorrq_u8(vld1q_u8(bytes + 48), vreinterpretq_u8_u32(vceqq_u32(hole, vdupq_n_u32(12))));
  a = vminq_u8(vminq_u8(a, b), vminq_u8(c, d));
  uint8x8_t e = vmin_u8(vget_low_u8(a), vget_high_u8(a));
  e = vmin_u8(e, vreinterpret_u8_u64(vshr_n_u64(vreinterpret_u64_u8(e), 32)));
  return vget_lane_u32(vreinterpret_u32_u8(e), 0);
}
#endif

#if defined(__SSE2__) || defined(__aarch64__)
/* The first of 16 entries of four bytes (a line) whose byte number lane is at most lack, 0 to 126. */
__attribute__((always_inline)) static inline uint32_t gp_entries_first(const uint32_t *line, uint8_t lack, uint32_t lane) {
  uint64_t bytes = gp_line_within((const uint8_t *)line, lack) & (UINT64_C(0x1111111111111111) << lane);
  return (uint32_t)__builtin_ctzll(bytes) / 4;
}
#endif

#ifdef __x86_64__
#include <immintrin.h>

/* Whether this machine has AVX2, which compares half a cache line at once. No before constructors run. */
static inline bool gp_has_avx2(void) { return __builtin_cpu_supports("avx2"); }

__attribute__((target("avx2"), always_inline)) static inline uint64_t gp_line_below(
    const uint8_t *line, __m256i more) {
  const __m256i *half = (const __m256i *)line;
  uint64_t a = (uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(more, half[0]));
  uint64_t b = (uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(more, half[1]));
  return a | b << 32;
}

/*
 * For each of four sets of positions in a word of 64 granules, 1 = free: the longest run from any
 * of them on without leaving the word, up to 63; a byte each, the first set's the lowest. The length
 * bit by bit from the highest, by the positions that still reach.
 */
__attribute__((target("avx2"))) static inline uint32_t gp_reaches_inside_avx2(uint64_t bits, const uint64_t *positions) {
  const __m256i one = _mm256_set1_epi64x((long long)bits), none = _mm256_setzero_si256();
  const __m256i two = _mm256_and_si256(one, _mm256_srli_epi64(one, 1));
  const __m256i four = _mm256_and_si256(two, _mm256_srli_epi64(two, 2));
  const __m256i eight = _mm256_and_si256(four, _mm256_srli_epi64(four, 4));
  const __m256i sixteen = _mm256_and_si256(eight, _mm256_srli_epi64(eight, 8));
  const __m256i starts[6] = {one, two, four, eight, sixteen, _mm256_and_si256(sixteen, _mm256_srli_epi64(sixteen, 16))};
  __m256i from = _mm256_load_si256((const __m256i *)positions);
  __m256i length = none;
#pragma GCC unroll 6
  for (int step = 5; step >= 0; step--) {
    const __m256i longer = _mm256_and_si256(from, _mm256_srlv_epi64(starts[step], length));
    const __m256i ends = _mm256_cmpeq_epi64(longer, none);
    from = _mm256_blendv_epi8(longer, from, ends);
    length = _mm256_or_si256(length, _mm256_andnot_si256(ends, _mm256_set1_epi64x(1 << step)));
  }
  __m128i pairs = _mm_or_si128(
      _mm256_castsi256_si128(length), _mm_slli_epi64(_mm256_extracti128_si256(length, 1), 16));
  pairs = _mm_or_si128(pairs, _mm_slli_epi64(_mm_srli_si128(pairs, 8), 8));
  return (uint32_t)_mm_cvtsi128_si32(pairs);
}

/*
 * Down a tree of nodes of 64 bytes, in which child c of node i is node 64 i + 1 + c: in each of depth
 * levels to the first child of at most most, which there is. The last node, times 64, plus its child.
 * Up to four nodes below the root are looked at together, for which all four must be there.
 */
__attribute__((target("avx2"))) static inline size_t gp_descend_avx2(
    const uint8_t *root, size_t depth, size_t nodes, uint8_t most) {
  const __m256i more = _mm256_set1_epi8((char)(most + 1));
  if (depth == 2 && nodes <= 5) {
    uint64_t a = gp_line_below(root + 64, more), b = gp_line_below(root + 128, more);
    uint64_t c = gp_line_below(root + 192, more), d = gp_line_below(root + 256, more);
    size_t node = c ? 192 : 256;
    uint64_t children = c ? c : d;
    node = b ? 128 : node;
    children = b ? b : children;
    node = a ? 64 : node;
    children = a ? a : children;
    return node + (size_t)__builtin_ctzll(children);
  }
  size_t place = 0;
  for (;;) {
    place = (place & ~(size_t)63) + (size_t)__builtin_ctzll(gp_line_below(root + (place & ~(size_t)63), more));
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
#if defined(__aarch64__)
  __asm__ volatile("dsb st" ::: "memory"); /* a fence between threads orders nothing for devices */
#else
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}
