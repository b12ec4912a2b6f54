#include "gp_private.h"

#include <stdio.h>

static _Thread_local char error_text[1024];

void gp_set_error_text(const char *text) {
  snprintf(error_text, sizeof error_text, "%s", text);
}

const char *genpool_error_text(void) { return error_text; }
