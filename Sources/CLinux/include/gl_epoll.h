/*
 * Waits for many descriptors at once, and wakes a waiting thread.
 *
 * Why C: Swift's Glibc module leaves out <sys/epoll.h>, <sys/eventfd.h> and <sys/signalfd.h>, and
 * epoll_event is packed on x86-64 only.
 *
 * All return 0 or a count or a new descriptor (closed on exec), or -errno.
 */
#pragma once
#include <stdint.h>

/* What a descriptor is ready for. */
enum {
  GL_READABLE = 1 << 0,
  GL_WRITABLE = 1 << 1,
  GL_HANG_UP = 1 << 2, /* both directions are closed; always reported */
  GL_FAILED = 1 << 3, /* always reported */
  GL_EDGE = 1 << 4, /* of an interest: reported when it changes, and once when it is asked for */
};

/* One descriptor that is ready. */
struct gl_ready {
  uint64_t token; /* as given to gl_epoll_add */
  uint32_t events; /* GL_… */
};

int gl_epoll_create(void);
/* Level-triggered without GL_EDGE. */
int gl_epoll_add(int epoll, int descriptor, uint32_t events, uint64_t token);
int gl_epoll_change(int epoll, int descriptor, uint32_t events, uint64_t token);
int gl_epoll_remove(int epoll, int descriptor);
/*
 * Waits up to `milliseconds` (-1: for ever). An interrupted wait returns 0 events, so that the caller
 * looks at its clock again; `capacity` is at most 64.
 */
int gl_epoll_wait(int epoll, struct gl_ready *ready, int capacity, int milliseconds);

/* A counter that one thread raises and another waits for. */
int gl_event_create(void);
int gl_event_raise(int event);
int gl_event_clear(int event);
/* Sleeps until it is raised, and clears it; or for `milliseconds` (-1: for ever), longer if signals
 * come. */
int gl_event_wait(int event, int milliseconds);

/* Blocks these signals in the calling thread (and those it starts later) and reads them instead. */
int gl_signals_create(const int *signals, int count);
/* The number of the next signal, or -EAGAIN. */
int gl_signals_next(int signals);
