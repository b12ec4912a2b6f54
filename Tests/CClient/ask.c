/*
 * Does what it is told with one client, and prints what came of it: ask SOCKET COMMAND…
 *
 *   timeout=MS            open=LABEL            connect  list  free  monitor
 *   acquire[,FIELD=VALUE…] of key, pool, bytes, alignment, offset, fit, label, wait, times
 *   map[=N]  release[=N]  of the N-th lease that was acquired, from 0 on; without N the last
 *   read                  a line of standard input
 *   fork                  connect, in a child
 *   files=N               the descriptors that may be open from now on beside those that are
 *
 * With OLD the kernel wipes no page on fork. With SLOW each recvmsg and send takes a while, and
 * recvmsg takes 64 bytes at most: there are always more, and a peer that closes at once has closed.
 *
 * One line a command: its name, the result, and the broker's name of the error; and the number of
 * the last error where it is not the result's. The last line says how many descriptors are left open
 * that were not there at the start.
 */
#include "genpool_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef OLD
int __real_madvise(void *start, size_t size, int advice);
int __wrap_madvise(void *start, size_t size, int advice);

int __wrap_madvise(void *start, size_t size, int advice) {
  if (advice != 18 /* MADV_WIPEONFORK */) return __real_madvise(start, size, advice);
  errno = EINVAL;
  return -1;
}
#endif

#ifdef SLOW
ssize_t __real_recvmsg(int socket, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int socket, struct msghdr *message, int flags);

ssize_t __wrap_recvmsg(int socket, struct msghdr *message, int flags) {
  struct timespec pause = {0, 2000000};
  nanosleep(&pause, NULL);
  if (message->msg_iov->iov_len > 64) message->msg_iov->iov_len = 64;
  return __real_recvmsg(socket, message, flags);
}

ssize_t __real_send(int socket, const void *bytes, size_t size, int flags);
ssize_t __wrap_send(int socket, const void *bytes, size_t size, int flags);

ssize_t __wrap_send(int socket, const void *bytes, size_t size, int flags) {
  struct timespec pause = {0, 20000000};
  nanosleep(&pause, NULL);
  return __real_send(socket, bytes, size, flags);
}
#endif

enum { MOST = 1024 };
static struct genpool_client *client;
static struct genpool_client_lease *leases[MOST];
static int count;

/* The end of a line: what the last error is when it is not the result's. */
static void tell_error(int result) {
  int number = client ? genpool_client_last_error(client)->number : 0;
  if (client && number != (result < 0 ? -result : 0)) printf(" but the last error is %d", number);
  printf("\n");
}

static void tell(const char *command, int result) {
  printf("%s %d %s", command, result, client ? genpool_client_last_error(client)->name : "");
  tell_error(result);
}

static int count_lease(const struct genpool_client_facts *facts, void *context) {
  (void)facts;
  ++*(int *)context;
  return 0;
}

static void acquire(char *fields) {
  struct genpool_client_request request;
  int times = 1;
  memset(&request, 0, sizeof request);
  request.size = sizeof request;
  request.bytes = 4096;
  for (char *field = fields ? strtok(fields, ",") : NULL; field; field = strtok(NULL, ",")) {
    char *value = strchr(field, '=');
    if (!value) continue;
    *value++ = 0;
    if (strcmp(field, "key") == 0) request.key = value;
    else if (strcmp(field, "pool") == 0) request.pool = value;
    else if (strcmp(field, "fit") == 0) request.fit = value;
    else if (strcmp(field, "label") == 0) request.label = value;
    else if (strcmp(field, "bytes") == 0) request.bytes = strtoull(value, NULL, 0);
    else if (strcmp(field, "alignment") == 0) request.alignment = strtoull(value, NULL, 0);
    else if (strcmp(field, "offset") == 0) request.offset = strtoull(value, NULL, 0);
    else if (strcmp(field, "wait") == 0) request.wait = strtoll(value, NULL, 0);
    else if (strcmp(field, "times") == 0) times = atoi(value);
    else exit(64);
  }
  for (int i = 0; i < times; i++) {
    if (count == MOST) exit(64);
    int result = genpool_client_acquire(client, &request, &leases[count]);
    if (result == 0) {
      const struct genpool_client_facts *facts = genpool_client_lease_facts(leases[count++]);
      if (times == 1) {
        printf("acquire 0 %s", facts->lease);
        tell_error(result);
      }
    } else {
      tell("acquire", result);
    }
  }
}

static void monitor(void) {
  struct genpool_client_monitor *one;
  struct genpool_client_event event;
  int result = genpool_client_monitor_new(client, &one);
  if (result) {
    tell("monitor", result);
    return;
  }
  for (int patience = 20000; (result = genpool_client_monitor_next(one, &event, patience)) == 0; patience = 100)
    printf("event %s %s\n", event.event, event.label);
  printf("monitor %d \n", result);
  genpool_client_monitor_free(one);
}

int main(int argument_count, char **arguments) {
  if (argument_count < 2) return 64;
  int lowest = dup(0);
  close(lowest);
  for (int i = 2; i < argument_count; i++) {
    char *command = arguments[i], *value = strpbrk(command, "=,");
    if (value) *value++ = 0;
    if (strcmp(command, "open") == 0) client = genpool_client_new(arguments[1], value);
    else if (!client) client = genpool_client_new(arguments[1], NULL);
    if (!client) {
      printf("%s %d\n", command, -errno);
      continue;
    }
    int which = value ? atoi(value) : count - 1;
    if (strcmp(command, "timeout") == 0) {
      genpool_client_set_timeout(client, which);
    } else if (strcmp(command, "connect") == 0) {
      tell(command, genpool_client_connect(client));
    } else if (strcmp(command, "acquire") == 0) {
      acquire(value);
    } else if (strcmp(command, "map") == 0) {
      void *memory;
      tell(command, genpool_client_map(leases[which], &memory));
    } else if (strcmp(command, "release") == 0) {
      tell(command, genpool_client_release(leases[which]));
    } else if (strcmp(command, "list") == 0) {
      int found = 0, result = genpool_client_list(client, count_lease, &found);
      printf("list %d %s %d", result, genpool_client_last_error(client)->name, found);
      tell_error(result);
    } else if (strcmp(command, "monitor") == 0) {
      monitor();
    } else if (strcmp(command, "fork") == 0) {
      fflush(stdout);
      pid_t child = fork();
      if (child == 0) _exit(-genpool_client_connect(client));
      int status = -1;
      waitpid(child, &status, 0);
      printf("fork %d\n", WIFEXITED(status) ? -WEXITSTATUS(status) : status);
    } else if (strcmp(command, "files") == 0) {
      int free_number = dup(0);
      close(free_number);
      struct rlimit limit = {(rlim_t)(free_number + which), 4096};
      if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
    } else if (strcmp(command, "read") == 0) {
      while (getchar() > '\n') continue;
    } else if (strcmp(command, "free") == 0) {
      genpool_client_free(client);
      client = NULL;
    } else if (strcmp(command, "open") != 0) {
      return 64;
    }
    fflush(stdout);
  }
  genpool_client_free(client);
  struct rlimit limit = {4096, 4096};
  setrlimit(RLIMIT_NOFILE, &limit);
  printf("left %d\n", dup(0) - lowest);
  return 0;
}
