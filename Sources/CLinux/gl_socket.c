#define _GNU_SOURCE
#include "gl_socket.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* The address of `path` and its length, or -errno. */
static int address_of(const char *path, struct sockaddr_un *address, socklen_t *length) {
  size_t count = strlen(path);
  if (count == 0) return -ENOENT;
  if (count >= sizeof address->sun_path) return -ENAMETOOLONG;
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, path, count);
  *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + count);
  if (path[0] == '@')
    address->sun_path[0] = '\0';
  else
    *length += 1;
  return 0;
}

static int close_and_return(int descriptor, int result) {
  close(descriptor);
  return result;
}

int gl_listen(const char *path, mode_t mode, gid_t group) {
  struct sockaddr_un address;
  socklen_t length;
  int result = address_of(path, &address, &length);
  if (result != 0) return result;
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener < 0) return -errno;
  /* bind() gives the file the mode of the unbound socket, less the umask: never more than asked. */
  if (fchmod(listener, mode & S_IRWXU) != 0 ||
      bind(listener, (struct sockaddr *)&address, length) != 0)
    return close_and_return(listener, -errno);
  /* The group's bits come after the group, and until listen() every connect() is refused. */
  if (path[0] != '@' && ((group != (gid_t)-1 && chown(path, (uid_t)-1, group) != 0) ||
                         chmod(path, mode) != 0))
    result = -errno;
  else if (listen(listener, GL_BACKLOG) != 0)
    result = -errno;
  if (result == 0) return listener;
  if (path[0] != '@') unlink(path);
  return close_and_return(listener, result);
}

int gl_connect(const char *path) {
  struct sockaddr_un address;
  socklen_t length;
  int result = address_of(path, &address, &length);
  if (result != 0) return result;
  int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connection < 0) return -errno;
  do result = connect(connection, (struct sockaddr *)&address, length);
  while (result != 0 && errno == EINTR);
  /* A connect() that was interrupted after all has connected. */
  if (result != 0 && errno != EISCONN) return close_and_return(connection, -errno);
  return connection;
}

int gl_is_served(const char *path) {
  struct sockaddr_un address;
  socklen_t length;
  int result = address_of(path, &address, &length);
  if (result != 0) return result;
  int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return -errno;
  do result = connect(probe, (struct sockaddr *)&address, length);
  while (result != 0 && errno == EINTR);
  /* EAGAIN: it listens, and its queue is full. */
  if (result == 0 || errno == EAGAIN) result = 1;
  else
    result = errno == ECONNREFUSED ? 0 : -errno;
  return close_and_return(probe, result);
}

int gl_socket_path(int socket, char *path, size_t capacity) {
  struct sockaddr_un address;
  socklen_t length = sizeof address;
  if (getsockname(socket, (struct sockaddr *)&address, &length) != 0) return -errno;
  if (address.sun_family != AF_UNIX) return -EAFNOSUPPORT;
  size_t start = offsetof(struct sockaddr_un, sun_path);
  size_t count = length > start ? length - start : 0;
  /* A path that fills the field has no NUL; a path in a directory counts the one it has. */
  if (count > 0 && address.sun_path[0] != '\0') count = strnlen(address.sun_path, count);
  if (count == 0) return -ENOENT;
  if (count >= capacity) return -ENAMETOOLONG;
  memcpy(path, address.sun_path, count);
  if (path[0] == '\0') path[0] = '@';
  if (memchr(path, '\0', count) != NULL) return -EINVAL;
  path[count] = '\0';
  return 0;
}

int gl_accept(int socket) {
  int connection;
  do connection = accept4(socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  while (connection < 0 && (errno == EINTR || errno == ECONNABORTED));
  return connection >= 0 ? connection : -errno;
}

int gl_datagram_create(void) {
  int result = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  return result < 0 ? -errno : result;
}

int gl_send_datagram(int sender, const char *path, const void *bytes, size_t count) {
  struct sockaddr_un address;
  socklen_t length;
  int result = address_of(path, &address, &length);
  if (result != 0) return result;
  ssize_t sent;
  do sent = sendto(sender, bytes, count, MSG_NOSIGNAL, (struct sockaddr *)&address, length);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? -errno : 0;
}

ssize_t gl_send(int socket, const void *bytes, size_t count, const int *descriptors,
                int descriptor_count, bool waits) {
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(GL_DESCRIPTORS_MAX * sizeof(int))];
  } control;
  struct iovec part = {.iov_base = (void *)bytes, .iov_len = count};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (descriptor_count < 0 || descriptor_count > GL_DESCRIPTORS_MAX) return -EINVAL;
  if (descriptor_count > 0) {
    size_t length = (size_t)descriptor_count * sizeof(int);
    memset(&control, 0, sizeof control);
    message.msg_control = control.room;
    message.msg_controllen = CMSG_SPACE(length);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(header), descriptors, length);
  }
  ssize_t sent;
  do sent = sendmsg(socket, &message, MSG_NOSIGNAL | (waits ? 0 : MSG_DONTWAIT));
  while (sent < 0 && errno == EINTR);
  return sent >= 0 ? sent : -errno;
}

int gl_unreceived(int socket) {
  int count = 0;
  /*
   * 1 is nothing: while a message is taken away the kernel wakes who waits for that with 1 left
   * to be subtracted (sock_wfree), and no event comes after that.
   */
  return ioctl(socket, SIOCOUTQ, &count) == 0 && count > 1 ? count : 0;
}

int gl_limit_receiving(int socket, int64_t microseconds) {
  struct timeval limit = {.tv_sec = microseconds / 1000000, .tv_usec = microseconds % 1000000};
  return setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 ? 0 : -errno;
}

ssize_t gl_receive(int socket, void *bytes, size_t capacity, int *descriptors,
                   int *descriptor_count) {
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(GL_DESCRIPTORS_MAX * sizeof(int))];
  } control;
  struct iovec part = {.iov_base = bytes, .iov_len = capacity};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  int room = descriptors != NULL && descriptor_count != NULL ? *descriptor_count : 0;
  if (descriptors != NULL) {
    message.msg_control = control.room;
    message.msg_controllen = sizeof control.room;
  }
  ssize_t received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (received < 0) return -errno;
  if (descriptors == NULL) return received;

  int taken[GL_DESCRIPTORS_MAX];
  int count = 0;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    size_t carried = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    /* The control buffer holds no more than `taken` does. */
    memcpy(taken + count, CMSG_DATA(header), carried * sizeof(int));
    count += (int)carried;
  }
  bool complete = (message.msg_flags & MSG_CTRUNC) == 0 && count <= room;
  if (complete) memcpy(descriptors, taken, (size_t)count * sizeof(int));
  else
    for (int i = 0; i < count; i++) close(taken[i]);
  *descriptor_count = complete ? count : 0;
  return complete ? received : -EMSGSIZE;
}
