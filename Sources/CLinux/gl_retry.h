/* Repeats a system call that a signal interrupted; its result, or -errno. */
#pragma once
#include <errno.h>

#define RETRY(call)                                 \
  ({                                                \
    __typeof__(call) result_;                       \
    do result_ = (call);                            \
    while (result_ < 0 && errno == EINTR);          \
    result_ < 0 ? -(__typeof__(call))errno : result_; \
  })
