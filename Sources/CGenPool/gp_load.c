#include "gp_private.h"

/* When the library is loaded. */
__attribute__((constructor)) static void load(void) { gp_prepare(); }
