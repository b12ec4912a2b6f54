/* For sources that include the kernel's header by its name. */
#include <genpool.h>
