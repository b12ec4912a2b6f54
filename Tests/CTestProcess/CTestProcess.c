#define _GNU_SOURCE
#include "CTestProcess.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* After fork() in a process with threads, only system calls are safe. */

static bool become(int uid, int group) {
  if (uid < 0) return true;
  gid_t groups[1] = {(gid_t)group};
  return syscall(SYS_setgroups, group < 0 ? 0 : 1, groups) == 0 && syscall(SYS_setresgid, uid, uid, uid) == 0 &&
         syscall(SYS_setresuid, uid, uid, uid) == 0;
}

static int connect_to(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  socklen_t length = sizeof address;
  if (path[0] == '@') {
    address.sun_path[0] = '\0';
    length = offsetof(struct sockaddr_un, sun_path) + strlen(path);
  }
  int connection = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connection < 0) return -1;
  return connect(connection, (struct sockaddr *)&address, length) == 0 ? connection : -1;
}

/* Passes on what `from` has. False when it has closed. The descriptors stay open here. */
static bool pass(int from, int to) {
  char bytes[65536];
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(16 * sizeof(int))];
  } control;
  struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  message.msg_control = control.room;
  message.msg_controllen = sizeof control.room;
  ssize_t count = recvmsg(from, &message, 0);
  if (count <= 0) return false;
  part.iov_len = (size_t)count;
  if (message.msg_controllen == 0) message.msg_control = NULL;
  return sendmsg(to, &message, MSG_NOSIGNAL) == count;
}

static void live(int control, int connection, bool forks) {
  if (forks && fork() == 0) {
    struct pollfd end = {.fd = control};
    while (poll(&end, 1, -1) < 0 && errno == EINTR) {}
    _exit(0);
  }
  for (;;) {
    struct pollfd ends[2] = {{.fd = control, .events = POLLIN},
                             {.fd = connection, .events = POLLIN}};
    if (poll(ends, 2, -1) < 0) continue;
    if (ends[0].revents && !pass(control, connection)) break;
    if (ends[1].revents && !pass(connection, control)) break;
  }
  close(connection);
  close(control);
  for (;;) pause();
}

pid_t ct_start(const char *path, int uid, int group, bool forks, int *control) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return -errno;
  pid_t parent = getpid();
  pid_t process = fork();
  if (process < 0) return -errno;
  if (process == 0) {
    /* The parent's own connections must not live on here, or they would never hang up. */
    dup2(ends[1], 3);
    syscall(SYS_close_range, 4, ~0u, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || !become(uid, group)) _exit(1);
    /* A change of user clears the wish to die with the parent. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int connection = connect_to(path);
    if (connection < 0) _exit(2);
    live(3, connection, forks);
  }
  close(ends[1]);
  *control = ends[0];
  return process;
}

int ct_count_sockets(const char *path) {
  int count = 0;
  for (int descriptor = 0; descriptor < 65536; descriptor++) {
    struct sockaddr_un address = {0};
    socklen_t length = sizeof address - 1;
    if (getsockname(descriptor, (struct sockaddr *)&address, &length) != 0) continue;
    if (address.sun_family == AF_UNIX && strcmp(address.sun_path, path) == 0) count++;
  }
  return count;
}

int ct_unmask_thread(void) {
  if (unshare(CLONE_FS) != 0) return -errno;
  umask(0);
  return 0;
}

void ct_kill(pid_t process) {
  kill(process, SIGKILL);
  while (waitpid(process, NULL, 0) < 0 && errno == EINTR) {}
}
