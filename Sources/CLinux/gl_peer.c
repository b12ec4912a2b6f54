#define _GNU_SOURCE
#include "gl_peer.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
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

int64_t gl_pidfd_inode(int pidfd) {
  /* include/uapi/linux/magic.h: PID_FS_MAGIC. Before, all pidfds were one anonymous inode's. */
  static const long pidfs = 0x50494446;
  struct statfs system;
  struct stat status;
  if (fstatfs(pidfd, &system) != 0 || system.f_type != pidfs) return -ENOTSUP;
  return fstat(pidfd, &status) == 0 ? (int64_t)status.st_ino : -errno;
}

int gl_want_senders(int socket) {
  int yes = 1;
  return setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes) == 0 ? 0 : -errno;
}

ssize_t gl_receive_naming_sender(
  int socket, void *bytes, size_t capacity, int milliseconds, pid_t *pid) {
  struct pollfd end = {.fd = socket, .events = POLLIN};
  int ready;
  do ready = poll(&end, 1, milliseconds);
  while (ready < 0 && errno == EINTR);
  if (ready <= 0) return ready < 0 ? -errno : -EAGAIN;

  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(struct ucred))];
  } control;
  struct iovec part = {.iov_base = bytes, .iov_len = capacity};
  struct msghdr message = {.msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = control.room,
                           .msg_controllen = sizeof control.room};
  ssize_t received;
  /* Descriptors find no room in the control buffer, and the kernel closes them. */
  do received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (received < 0 && errno == EINTR);
  if (received < 0) return -errno;
  *pid = 0;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_CREDENTIALS) continue;
    struct ucred credentials;
    memcpy(&credentials, CMSG_DATA(header), sizeof credentials);
    *pid = credentials.pid;
  }
  return received;
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
