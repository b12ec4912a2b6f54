/*
 * A libFuzzer target: what a broker sends, to each function that reads replies.
 *
 * An input is the function (its first byte), the descriptors that come along (its second), and then
 * the bytes that are received, to the end of the connection. There is no broker to connect to again.
 */
#include "../../Sources/CGenPoolClient/genpool_client.c"

#include <fcntl.h>

static void require(bool holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "%s\n", what);
  abort();
}

static bool ends(const char *text, size_t size) { return memchr(text, 0, size) != NULL; }

static int visit(const struct genpool_client_facts *facts, void *context) {
  require(ends(facts->lease, sizeof facts->lease) && ends(facts->pool, sizeof facts->pool) &&
              ends(facts->caching, sizeof facts->caching) && ends(facts->isolation, sizeof facts->isolation) &&
              ends(facts->state, sizeof facts->state) && ends(facts->label, sizeof facts->label),
          "a text without an end");
  return ++*(int *)context > 100;
}

static int kept = -1; /* the far end of the input's connection */

/* The near end, with the bytes and descriptors on their way; -1 without bytes. */
static int connection_of(const uint8_t *bytes, size_t size, unsigned count, int file) {
  int ends_of[2];
  char control[CMSG_SPACE(12 * sizeof(int))];
  struct iovec part = {(void *)(uintptr_t)bytes, size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (size == 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends_of) != 0) return -1;
  if (count > 0) {
    memset(control, 0, sizeof control);
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(count * sizeof(int));
    for (unsigned i = 0; i < count; i++) memcpy(CMSG_DATA(head) + i * sizeof(int), &file, sizeof(int));
  }
  require(sendmsg(ends_of[1], &message, 0) == (ssize_t)size, "the socket takes too little");
  shutdown(ends_of[1], SHUT_WR);
  /* The calls have room in the socket, and nobody reads them. */
  kept = ends_of[1];
  return ends_of[0];
}

/* How many are open. An input brings twelve at most, and each takes the lowest number that is free. */
static int count_open(void) {
  int count = 0;
  for (int i = 0; i < 64; i++) count += fcntl(i, F_GETFD) >= 0;
  return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  static int file = -1;
  if (file < 0) {
    file = memfd_create("lease", MFD_CLOEXEC);
    require(file >= 0 && ftruncate(file, 1 << 20) == 0, "a file for leases");
  }
  if (size < 2 || size > 100000) return 0;
  int open_before = count_open();
  unsigned function = bytes[0] % 6, count = bytes[1] % 13;
  struct genpool_client *client = genpool_client_new("/nonexistent/socket", function == 4 ? "fuzz" : NULL);
  require(client != NULL, "a client");
  genpool_client_set_timeout(client, 1000);
  int near = connection_of(bytes + 2, size - 2, count, file), visits = 0;
  struct genpool_client_request request = {.size = sizeof request, .bytes = 4096, .key = "k"};
  if (bytes[0] & 0x40) request.pool = "cmb";
  if (bytes[0] & 0x80) request.alignment = 65536;
  if (function == 5) {
    struct genpool_client_monitor *monitor;
    struct genpool_client_event event;
    require(genpool_client_monitor_new(client, &monitor) == -ENOENT, "no broker");
    monitor = calloc(1, sizeof *monitor);
    require(monitor && make_origin(&monitor->origin) == 0, "a monitor");
    monitor->connection.socket = near;
    while (genpool_client_monitor_next(monitor, &event, 1000) == 0)
      require(ends(event.event, sizeof event.event) && ends(event.pool, sizeof event.pool) &&
                  ends(event.lease, sizeof event.lease) && ends(event.cause, sizeof event.cause) &&
                  ends(event.label, sizeof event.label),
              "a text without an end");
    genpool_client_monitor_free(monitor);
  } else if (function == 4) {
    struct json parameters;
    client->connection.socket = near;
    if (near >= 0) call_on(client, &client->connection, "Hello", "x", 2, now() + 1000, &parameters, NULL);
  } else {
    client->connection.socket = near;
    if (function == 0) genpool_client_list(client, visit, &visits);
    struct genpool_client_lease *lease, *again;
    void *memory;
    while (function && genpool_client_acquire(client, &request, &lease) == 0) {
      visit(genpool_client_lease_facts(lease), &visits);
      if (genpool_client_map(lease, &memory) == 0) *(volatile char *)memory = 1;
      if (function == 2 && genpool_client_acquire(client, &request, &again) == 0) genpool_client_release(again);
      if (function != 3) genpool_client_release(lease);
      if (++visits > 100) break;
    }
  }
  const struct genpool_client_error *error = genpool_client_last_error(client);
  require(ends(error->name, sizeof error->name) && ends(error->text, sizeof error->text) && error->number >= 0 &&
              error->number < 4096,
          "an error that is none");
  genpool_client_free(client);
  if (kept >= 0) close(kept);
  kept = -1;
  require(count_open() == open_before, "a descriptor is left open, or one too many closed");
  return 0;
}
