#define _GNU_SOURCE
#include "cu_network.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

int cu_enter_network(void) {
  int previous = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  if (previous < 0) return -errno;
  if (unshare(CLONE_NEWNET) == 0) return previous;
  int failure = -errno;
  close(previous);
  return failure;
}

int cu_leave_network(int previous) {
  int result = setns(previous, CLONE_NEWNET) == 0 ? 0 : -errno;
  close(previous);
  return result;
}

int cu_open(void) {
  int number = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
  return number < 0 ? -errno : number;
}

static int send_parts(int socket, struct sockaddr_nl to, struct iovec *parts, size_t count) {
  struct msghdr message = {
      .msg_name = &to, .msg_namelen = sizeof to, .msg_iov = parts, .msg_iovlen = count};
  return sendmsg(socket, &message, 0) < 0 ? -errno : 0;
}

int cu_send_as_kernel(int socket, const char *text, size_t length) {
  struct nlmsghdr head = {
      .nlmsg_len = (unsigned)(sizeof head + length),
      .nlmsg_type = NLMSG_MIN_TYPE,
      .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK};
  struct iovec parts[] = {{&head, sizeof head}, {(void *)text, length}};
  int result = send_parts(socket, (struct sockaddr_nl){.nl_family = AF_NETLINK}, parts, 2);
  if (result < 0) return result;
  struct {
    struct nlmsghdr head;
    struct nlmsgerr error;
    char rest[4096];
  } answer;
  if (recv(socket, &answer, sizeof answer, 0) < 0) return -errno;
  /* Nobody listens: ESRCH. A listener had no room: ENOBUFS. Sent all the same. */
  int error = answer.head.nlmsg_type == NLMSG_ERROR ? answer.error.error : -EPROTO;
  return error == -ESRCH || error == -ENOBUFS ? 0 : error;
}

int cu_send_to_group(int socket, unsigned group, const char *text, size_t length) {
  struct iovec part = {(void *)text, length};
  struct sockaddr_nl to = {.nl_family = AF_NETLINK, .nl_groups = 1u << (group - 1)};
  return send_parts(socket, to, &part, 1);
}

int cu_send_to_socket(int socket, int receiver, const char *text, size_t length) {
  struct sockaddr_nl to;
  socklen_t size = sizeof to;
  if (getsockname(receiver, (struct sockaddr *)&to, &size) != 0) return -errno;
  to.nl_groups = 0;
  struct iovec part = {(void *)text, length};
  return send_parts(socket, to, &part, 1);
}

int cu_receive_buffer(int socket) {
  int value = 0;
  socklen_t size = sizeof value;
  return getsockopt(socket, SOL_SOCKET, SO_RCVBUF, &value, &size) == 0 ? value : -errno;
}
