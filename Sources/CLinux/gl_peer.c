#define _GNU_SOURCE
#include "gl_peer.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
/* asm-generic/socket.h; parisc and sparc differ, and no PCIe machine of theirs runs this. */
#define SO_PEERPIDFD 77
#endif

int gl_peer_credentials(int socket, pid_t *pid, uid_t *uid, gid_t *gid) {
  struct ucred credentials;
  socklen_t length = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return -errno;
  *pid = credentials.pid;
  *uid = credentials.uid;
  *gid = credentials.gid;
  return 0;
}

int gl_peer_groups(int socket, gid_t *groups, int *count) {
  socklen_t length = (socklen_t)*count * (socklen_t)sizeof *groups;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &length) != 0) return -errno;
  *count = (int)(length / sizeof *groups);
  return 0;
}

int gl_peer_pidfd(int socket) {
  int pidfd = -1;
  socklen_t length = sizeof pidfd;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) != 0) return -errno;
  return pidfd;
}

int gl_pidfd_open(pid_t pid) {
  long pidfd = syscall(SYS_pidfd_open, pid, 0);
  return pidfd >= 0 ? (int)pidfd : -errno;
}

/* The events that `descriptor` is ready for now, of `wanted` and those always reported; or -errno. */
static int ready_for(int descriptor, short wanted) {
  struct pollfd end = {.fd = descriptor, .events = wanted};
  int ready;
  do ready = poll(&end, 1, 0);
  while (ready < 0 && errno == EINTR);
  return ready < 0 ? -errno : end.revents;
}

int gl_has_died(int pidfd) {
  int ready = ready_for(pidfd, POLLIN);
  return ready < 0 ? ready : (ready & (POLLIN | POLLHUP)) != 0;
}

int gl_is_hung_up(int socket) {
  int ready = ready_for(socket, 0);
  return ready < 0 ? ready : (ready & (POLLHUP | POLLERR)) != 0;
}
