/*
 * libFuzzer's entry for programs that have a main of their own, as SwiftPM's executables do. The
 * runtime comes with the toolchain (-sanitize=fuzzer) and has no header there.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Runs the fuzzer with its command line; calls `test` for every input. Returns an exit status. */
int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*test)(const uint8_t *bytes, size_t count));
