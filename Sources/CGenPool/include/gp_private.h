/*
 * What the C and the Swift of libgenpool owe each other. Not installed, not exported.
 *
 * Why C: Swift has neither thread-local storage nor functions that a position-dependent program may take
 * the address of (its symbols are protected, and the linker refuses).
 */
#pragma once

#include "genpool.h"

#pragma clang assume_nonnull begin

/* What genpool_error_text() says in this thread: cut off after 1023 bytes. */
void gp_set_error_text(const char *text);

/* In Swift: makes what is made at first use and then kept, before there are threads that fork. */
void gp_prepare(void);

/* In Swift: where the algorithm of that number puts nr granules. */
enum gp_algorithm { GP_FIRST, GP_FIRST_ALIGN, GP_FIRST_ORDER_ALIGN, GP_BEST, GP_FIXED };
unsigned long gp_place(enum gp_algorithm algorithm, const unsigned long *map, unsigned long size,
                       unsigned long start, unsigned int nr, void *_Nullable data, struct gen_pool *pool,
                       unsigned long start_addr);

/* A struct gen_pool as it is allocated: what callers do not see stands behind it. */
struct gp_pool {
  struct gen_pool shown;
  /* A reference to the recording that all calls go through; NULL for none. */
  void *_Nullable recording;
  /* Whether it ever had a cache, whose allocations no record follows. */
  bool had_cache;
};

#pragma clang assume_nonnull end
