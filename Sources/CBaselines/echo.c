#define _GNU_SOURCE
#include "CBaselines.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MESSAGE_MOST = 4096 };

/* The first bytes of a call: what the reply is to be. */
struct head {
  uint32_t reply;
  uint32_t carries_descriptor;
};

struct echo_server {
  int socket;
  pid_t process;
  char message[MESSAGE_MOST];
};

/* Sends count bytes, and descriptor unless it is -1. */
static int send_message(int socket, const char *bytes, size_t count, int descriptor) {
  struct iovec part = {(void *)bytes, count};
  union {
    char room[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control = {.room = {0}};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (descriptor >= 0) {
    message.msg_control = control.room;
    message.msg_controllen = sizeof control.room;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
  ssize_t sent;
  do sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent == (ssize_t)count ? 0 : -1;
}

/* Receives one message, which came as one write; closes a descriptor that came with it. */
static ssize_t receive_message(int socket, char *bytes, int *descriptors) {
  struct iovec part = {bytes, MESSAGE_MOST};
  union {
    char room[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
  } control;
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
  ssize_t received;
  do received = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (received < 0 && errno == EINTR);
  *descriptors = 0;
  for (struct cmsghdr *header = received < 0 ? NULL : CMSG_FIRSTHDR(&message); header != NULL;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    int descriptor;
    memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
    close(descriptor);
    *descriptors += 1;
  }
  return received;
}

/* The server's whole life: it ends with its client. Unless set is -1 it waits there, as a server of
 * many clients does. */
static _Noreturn void serve(int socket, int set, int descriptor) {
  static char message[MESSAGE_MOST];
  for (;;) {
    struct epoll_event ready;
    while (set >= 0 && epoll_wait(set, &ready, 1, -1) < 1) {
      if (errno != EINTR) _exit(1);
    }
    int none;
    ssize_t received = receive_message(socket, message, &none);
    struct head head;
    if (received < (ssize_t)sizeof head) _exit(0);
    memcpy(&head, message, sizeof head);
    if (head.reply > MESSAGE_MOST) _exit(1);
    if (send_message(socket, message, head.reply, head.carries_descriptor ? descriptor : -1) != 0) _exit(0);
  }
}

/* A set to wait in for the socket alone; -1 with errno. */
static int set_of(int socket) {
  struct epoll_event event = {.events = EPOLLIN};
  int set = epoll_create1(EPOLL_CLOEXEC);
  if (set >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, socket, &event) != 0) {
    close(set);
    return -1;
  }
  return set;
}

echo_server *echo_start(bool waits_in_set) {
  echo_server *server = calloc(1, sizeof *server);
  if (server == NULL) return NULL;
  int ends[2] = {-1, -1};
  int memory = memfd_create("echo", MFD_CLOEXEC);
  pid_t parent = getpid();
  if (memory >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0) {
    server->process = fork();
    if (server->process == 0) {
      close(ends[0]);
      /* Of a parent that was killed before this, the socket's end tells. */
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(0);
      int set = waits_in_set ? set_of(ends[1]) : -1;
      if (waits_in_set && set < 0) _exit(1);
      serve(ends[1], set, memory);
    }
    close(ends[1]);
    if (server->process > 0) {
      close(memory);
      server->socket = ends[0];
      return server;
    }
    close(ends[0]);
  }
  if (memory >= 0) close(memory);
  free(server);
  return NULL;
}

void echo_stop(echo_server *server) {
  /* A server that was started later has this end too. */
  shutdown(server->socket, SHUT_RDWR);
  close(server->socket);
  while (waitpid(server->process, NULL, 0) < 0 && errno == EINTR) continue;
  free(server);
}

bool echo_call(echo_server *server, uint32_t call, uint32_t reply, bool carries_descriptor) {
  struct head head = {reply, carries_descriptor};
  if (call < sizeof head || call > MESSAGE_MOST || reply > MESSAGE_MOST) return false;
  memcpy(server->message, &head, sizeof head);
  if (send_message(server->socket, server->message, call, -1) != 0) return false;
  int descriptors;
  return receive_message(server->socket, server->message, &descriptors) == (ssize_t)reply &&
         descriptors == carries_descriptor;
}
