/* One guarded access: private to CDeviceMemory. */
#pragma once
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes that a thread is touching right now, and where to go when they do not answer. */
struct gd_attempt {
  uintptr_t start;
  size_t count;
  volatile size_t failed;   /* the offset of the fault; written by the handler */
  struct gd_attempt *outer; /* of the code that a signal handler interrupted */
  sigjmp_buf escape;
};

/*
 * The handler reads it in whatever thread faults. initial-exec, because the default model may call
 * malloc at a thread's first access, which a handler must not. volatile, because the compiler sees
 * neither the handler read it nor why it must be set before the first device access.
 */
extern _Thread_local struct gd_attempt *volatile gd_current
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/*
 * Runs `access(argument)`, which touches device memory in [start, start + count) only. Returns what it
 * returns, or -EFAULT with the offset of the fault in `*failed`.
 */
int gd_guarded(const volatile void *start, size_t count, int (*access)(void *), void *argument,
               size_t *failed);
