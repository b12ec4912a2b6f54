/* The algorithms are there to have their address taken: gp_private.h says why that takes C. */
#include "gp_private.h"

#define ALGORITHM(name, number)                                                                     \
  unsigned long name(unsigned long *map, unsigned long size, unsigned long start, unsigned int nr,  \
                     void *data, struct gen_pool *pool, unsigned long start_addr) {                 \
    return gp_place(number, map, size, start, nr, data, pool, start_addr);                          \
  }

ALGORITHM(gen_pool_first_fit, GP_FIRST)
ALGORITHM(gen_pool_first_fit_align, GP_FIRST_ALIGN)
ALGORITHM(gen_pool_first_fit_order_align, GP_FIRST_ORDER_ALIGN)
ALGORITHM(gen_pool_best_fit, GP_BEST)
ALGORITHM(gen_pool_fixed_alloc, GP_FIXED)
