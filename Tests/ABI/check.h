/* One line a check, then "N passed, N failed". */
#pragma once

#include <stdio.h>

static int passed, failed;

static inline void check(int holds, const char *sentence) {
  printf("%s: %s\n", holds ? "ok" : "NOT OK", sentence);
  if (holds) passed++;
  else failed++;
}

static inline int conclusion(void) {
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
