/* libpci has no module map of its own. */
#pragma once
#include <pci/pci.h>
