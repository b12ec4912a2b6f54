#define _GNU_SOURCE
#include "gl_epoll.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

static uint32_t to_epoll(uint32_t events) {
  return (events & GL_READABLE ? (uint32_t)EPOLLIN : 0) |
         (events & GL_WRITABLE ? (uint32_t)EPOLLOUT : 0) |
         (events & GL_EDGE ? (uint32_t)EPOLLET : 0);
}

static uint32_t from_epoll(uint32_t events) {
  return (events & EPOLLIN ? GL_READABLE : 0) | (events & EPOLLOUT ? GL_WRITABLE : 0) |
         (events & EPOLLHUP ? GL_HANG_UP : 0) | (events & EPOLLERR ? GL_FAILED : 0);
}

static int control(int epoll, int operation, int descriptor, uint32_t events, uint64_t token) {
  struct epoll_event event = {.events = to_epoll(events), .data.u64 = token};
  return epoll_ctl(epoll, operation, descriptor, &event) == 0 ? 0 : -errno;
}

int gl_epoll_create(void) {
  int epoll = epoll_create1(EPOLL_CLOEXEC);
  return epoll >= 0 ? epoll : -errno;
}

int gl_epoll_add(int epoll, int descriptor, uint32_t events, uint64_t token) {
  return control(epoll, EPOLL_CTL_ADD, descriptor, events, token);
}

int gl_epoll_change(int epoll, int descriptor, uint32_t events, uint64_t token) {
  return control(epoll, EPOLL_CTL_MOD, descriptor, events, token);
}

int gl_epoll_remove(int epoll, int descriptor) {
  return control(epoll, EPOLL_CTL_DEL, descriptor, 0, 0);
}

int gl_epoll_wait(int epoll, struct gl_ready *ready, int capacity, int milliseconds) {
  struct epoll_event events[64];
  if (capacity < 1 || capacity > 64) return -EINVAL;
  int count = epoll_wait(epoll, events, capacity, milliseconds);
  if (count < 0) return errno == EINTR ? 0 : -errno;
  for (int i = 0; i < count; i++)
    ready[i] = (struct gl_ready){
        .token = events[i].data.u64,
        .events = from_epoll(events[i].events),
    };
  return count;
}

int gl_event_create(void) {
  int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return event >= 0 ? event : -errno;
}

int gl_event_raise(int event) {
  uint64_t one = 1;
  ssize_t written;
  do written = write(event, &one, sizeof one);
  while (written < 0 && errno == EINTR);
  /* A full counter is a raised one. */
  return written == sizeof one || errno == EAGAIN ? 0 : -errno;
}

int gl_event_clear(int event) {
  uint64_t count;
  ssize_t got;
  do got = read(event, &count, sizeof count);
  while (got < 0 && errno == EINTR);
  return got == sizeof count || errno == EAGAIN ? 0 : -errno;
}

int gl_event_wait(int event, int milliseconds) {
  struct pollfd raised = {.fd = event, .events = POLLIN};
  int ready;
  do ready = poll(&raised, 1, milliseconds);
  while (ready < 0 && errno == EINTR);
  if (ready <= 0) return ready < 0 ? -errno : 0;
  return gl_event_clear(event);
}

int gl_signals_create(const int *signals, int count) {
  sigset_t set;
  sigemptyset(&set);
  for (int i = 0; i < count; i++)
    if (sigaddset(&set, signals[i]) != 0) return -errno;
  int error = pthread_sigmask(SIG_BLOCK, &set, NULL);
  if (error != 0) return -error;
  int descriptor = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  return descriptor >= 0 ? descriptor : -errno;
}

int gl_signals_next(int signals) {
  struct signalfd_siginfo info;
  ssize_t got;
  do got = read(signals, &info, sizeof info);
  while (got < 0 && errno == EINTR);
  if (got < 0) return -errno;
  return got == sizeof info ? (int)info.ssi_signo : -EIO;
}
