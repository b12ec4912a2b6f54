/*
 * A client's life against a broker that has one pool of 1 MiB, "cmb": life SOCKET. Prints one line a check.
 * As root: pid namespaces are made.
 */
#define _GNU_SOURCE 1 /* unshare */
#include "genpool_client.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int passed, failed;

static void check(int holds, const char *sentence) {
  holds ? passed++ : failed++;
  printf("  %s  %s\n", holds ? "ok  " : "FAIL", sentence);
  fflush(stdout);
}

static struct genpool_client_request request_of(uint64_t bytes) {
  struct genpool_client_request request;
  memset(&request, 0, sizeof request);
  request.size = sizeof request;
  request.bytes = bytes;
  return request;
}

static int count_lease(const struct genpool_client_facts *facts, void *context) {
  /* Those that are being zeroed are listed as well. */
  *(int *)context += strcmp(facts->state, "leased") == 0;
  return 0;
}

static int look_at_label(const struct genpool_client_facts *facts, void *context) {
  if (strcmp(facts->state, "leased") == 0) strcpy(context, facts->label);
  return 0;
}

/* A visit that uses its own client: what each call answers is kept. */
struct meddler {
  struct genpool_client *client;
  struct genpool_client_lease *lease;
  int results[7];
};

static int meddle(const struct genpool_client_facts *facts, void *context) {
  struct meddler *m = context;
  struct genpool_client_request request = request_of(4096);
  struct genpool_client_lease *lease;
  struct genpool_client_monitor *monitor;
  void *memory;
  int count = 0;
  (void)facts;
  m->results[0] = genpool_client_acquire(m->client, &request, &lease);
  m->results[1] = genpool_client_map(m->lease, &memory);
  m->results[2] = genpool_client_release(m->lease);
  m->results[3] = genpool_client_list(m->client, count_lease, &count);
  m->results[4] = genpool_client_connect(m->client);
  m->results[5] = genpool_client_monitor_new(m->client, &monitor);
  m->results[6] = genpool_client_last_error(m->client)->number;
  return 0;
}

static int end_client(const struct genpool_client_facts *facts, void *context) {
  (void)facts;
  genpool_client_free(context);
  return 0;
}

static int stop_at_once(const struct genpool_client_facts *facts, void *context) {
  (void)facts;
  ++*(int *)context;
  return 7;
}

static void check_leases(struct genpool_client *client) {
  struct genpool_client_request request = request_of(5000);
  struct genpool_client_lease *lease = NULL, *same = NULL, *other = NULL;
  request.pool = "cmb";
  request.alignment = 65536;
  request.key = "life";
  check(genpool_client_acquire(client, &request, &lease) == 0, "memory is leased");
  if (!lease) return;
  const struct genpool_client_facts *facts = genpool_client_lease_facts(lease);
  check(facts->size == 8192 && strcmp(facts->pool, "cmb") == 0 && facts->physical % 65536 == 0 &&
            facts->bus % 65536 == 0 && strcmp(facts->state, "leased") == 0 && facts->pid == getpid() &&
            strlen(facts->lease) == 32,
        "its facts are there");
  void *memory = NULL, *again = NULL;
  check(genpool_client_map(lease, &memory) == 0 && genpool_client_map(lease, &again) == 0 && memory == again,
        "it is mapped once");
  int is_zero = 1;
  for (size_t i = 0; memory && i < facts->size; i++) is_zero &= ((volatile char *)memory)[i] == 0;
  check(is_zero, "and zeroed");
  if (memory) memset(memory, 0xa5, facts->size);
  check(genpool_client_acquire(client, &request, &same) == 0 && same == lease, "the same key gives the same lease");
  request.key = NULL;
  check(genpool_client_acquire(client, &request, &other) == 0 &&
            strcmp(genpool_client_lease_facts(other)->lease, facts->lease) != 0,
        "no key another one");
  int count = 0;
  check(genpool_client_list(client, count_lease, &count) == 0 && count == 2, "both are listed");
  count = 0;
  check(genpool_client_list(client, stop_at_once, &count) == 7 && count == 1, "a visit can end the list");

  pid_t child = fork();
  if (child == 0) {
    struct genpool_client_lease *stolen;
    int result = genpool_client_acquire(client, &request, &stolen);
    int again_result = genpool_client_map(lease, &again);
    genpool_client_free(client); /* which releases nothing */
    _exit(result == -EPERM && again_result == -EPERM ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  check(status == 0, "a forked child is refused");
  count = 0;
  check(genpool_client_list(client, count_lease, &count) == 0 && count == 2, "and ends nothing by freeing its copy");

  struct meddler m = {client, lease, {0}};
  check(genpool_client_list(client, meddle, &m) == 0 && genpool_client_last_error(client)->number == 0,
        "a list ends well although its visits use their own client");
  int is_refused = m.results[6] == EBUSY;
  for (int i = 0; i < 6; i++) is_refused &= m.results[i] == -EBUSY;
  check(is_refused, "which each function refuses");

  check(genpool_client_release(other) == 0 && genpool_client_release(same) == 0, "leases are given back");
  count = 0;
  check(genpool_client_list(client, count_lease, &count) == 0 && count == 1 && ((volatile char *)memory)[0] == (char)0xa5,
        "one that was acquired twice is held, and mapped, until the second release");
  check(genpool_client_release(lease) == 0, "which gives it back");
  count = 0;
  check(genpool_client_list(client, count_lease, &count) == 0 && count == 0, "and none is left");
}

static void check_labels(const char *path, struct genpool_client *client) {
  struct genpool_client_request request = request_of(4096);
  struct genpool_client_lease *lease = NULL;
  char label[72] = "";
  request.label = "slurm job 12";
  check(genpool_client_acquire(client, &request, &lease) == 0 &&
            strcmp(genpool_client_lease_facts(lease)->label, "slurm job 12") == 0 &&
            genpool_client_list(client, look_at_label, label) == 0 && strcmp(label, "slurm job 12") == 0 &&
            genpool_client_release(lease) == 0,
        "a lease has the label that was asked for");
  request.label = NULL;
  check(genpool_client_acquire(client, &request, &lease) == 0 &&
            strcmp(genpool_client_lease_facts(lease)->label, "life \"of\" a client") == 0 &&
            genpool_client_release(lease) == 0,
        "or the client's");
  request.label = "two\nlines";
  check(genpool_client_acquire(client, &request, &lease) == -EINVAL &&
            strstr(genpool_client_last_error(client)->text, "label") != NULL,
        "one that cannot be printed is refused");
  struct genpool_client *nameless = genpool_client_new(path, NULL);
  request.label = NULL;
  check(genpool_client_acquire(nameless, &request, &lease) == 0 && !*genpool_client_lease_facts(lease)->label,
        "without either there is none");
  check(genpool_client_list(nameless, end_client, nameless) == -ECANCELED, "a visit may free the client");
  int left = 0;
  check(genpool_client_list(client, count_lease, &left) == 0 && left == 0, "which gives back its leases");
}

/* A child whose number is its parent's, each the first of its pid namespace. */
static void check_namespaces(const char *path) {
  pid_t first = fork();
  if (first == 0) {
    if (unshare(CLONE_NEWPID) != 0) _exit(2);
    pid_t parent = fork();
    if (parent == 0) {
      struct genpool_client *client = genpool_client_new(path, NULL);
      if (getpid() != 1 || !client || genpool_client_connect(client) != 0 || unshare(CLONE_NEWPID) != 0) _exit(3);
      pid_t child = fork();
      if (child == 0) _exit(getpid() == 1 && genpool_client_connect(client) == -EPERM ? 0 : 4);
      int status = -1;
      waitpid(child, &status, 0);
      _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 5);
    }
    int status = -1;
    waitpid(parent, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 6);
  }
  int status = -1;
  waitpid(first, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 2 && geteuid() != 0) {
    printf("  skipped: a child with its parent's pid, which takes root\n");
    return;
  }
  check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a forked child with its parent's pid is refused as well");
}

static void check_errors(struct genpool_client *client) {
  struct genpool_client_lease *lease = NULL;
  struct genpool_client_request request = request_of(1 << 30);
  check(genpool_client_acquire(client, &request, &lease) == -EINVAL &&
            strcmp(genpool_client_last_error(client)->name, "PoolTooSmall") == 0 &&
            strstr(genpool_client_last_error(client)->text, "PoolTooSmall"),
        "more than the pool has is an error with a name");
  request = request_of(4096);
  request.pool = "no \"such\"\\pool\x01";
  check(genpool_client_acquire(client, &request, &lease) == -ENOENT, "a pool that is not there");
  request.pool = NULL;
  request.wait = INT64_MAX;
  check(genpool_client_acquire(client, &request, &lease) == -EINVAL, "a wait of more than a year");
  request.wait = 0;
  request.size = 8;
  check(genpool_client_acquire(client, &request, &lease) == -EINVAL, "a request of another version");
  request = request_of(0);
  check(genpool_client_acquire(client, &request, &lease) == -EINVAL, "no bytes");
  request = request_of(UINT64_MAX);
  check(genpool_client_acquire(client, &request, &lease) == -EINVAL, "more bytes than can be said");
  request = request_of(1 << 20);
  check(genpool_client_acquire(client, &request, &lease) == 0, "all of the pool");
  struct genpool_client_lease *more = NULL;
  request.wait = -1;
  check(genpool_client_acquire(client, &request, &more) == -ENOMEM, "then it is full");
  check(genpool_client_release(lease) == 0, "until it is given back");
  request.wait = 5000;
  check(genpool_client_acquire(client, &request, &lease) == 0 && genpool_client_release(lease) == 0, "waiting helps");
  struct genpool_client *lost = genpool_client_new("/nonexistent/socket", NULL);
  check(genpool_client_connect(lost) == -ENOENT && strstr(genpool_client_last_error(lost)->text, "/nonexistent/socket"),
        "no broker is an error that names the socket");
  genpool_client_free(lost);
  genpool_client_free(NULL);
}

static void check_events(struct genpool_client *client) {
  struct genpool_client_monitor *monitor = NULL;
  struct genpool_client_event event;
  check(genpool_client_monitor_new(client, &monitor) == 0, "events are asked for");
  check(genpool_client_monitor_next(monitor, &event, 5000) == 0 && strcmp(event.event, "started") == 0, "the first says so");
  check(genpool_client_monitor_next(monitor, &event, 10) == -ETIMEDOUT, "none is a timeout");
  struct genpool_client_lease *lease = NULL;
  struct genpool_client_request request = request_of(1 << 20);
  check(genpool_client_acquire(client, &request, &lease) == 0, "the pool is used up");
  struct pollfd wait = {genpool_client_monitor_descriptor(monitor), POLLIN, 0};
  check(poll(&wait, 1, 5000) == 1 && genpool_client_monitor_next(monitor, &event, 0) == 0 &&
            strcmp(event.event, "pressure") == 0 && strcmp(event.pool, "cmb") == 0 && event.available == 0,
        "which is told");
  genpool_client_monitor_free(monitor);
  genpool_client_monitor_free(NULL);
  /* The lease is left for genpool_client_free. */
}

int main(int count, char **arguments) {
  if (count != 2) return 64;
  struct genpool_client *client = genpool_client_new(arguments[1], "life \"of\" a client");
  check(client && genpool_client_connect(client) == 0, "a client connects");
  check_leases(client);
  check_labels(arguments[1], client);
  check_namespaces(arguments[1]);
  check_errors(client);
  check_events(client);
  genpool_client_free(client);
  client = genpool_client_new(arguments[1], NULL);
  int left = 0;
  check(genpool_client_list(client, count_lease, &left) == 0 && left == 0, "freeing a client releases its leases");
  genpool_client_free(client);
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
