/* libudev has no module map of its own. */
#pragma once
#include <libudev.h>
