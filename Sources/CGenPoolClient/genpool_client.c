/* genpool_client.c: see genpool_client.h. MIT. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* MSG_CMSG_CLOEXEC, getrandom, MADV_DONTFORK */
#endif
#include "genpool_client.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
  REPLY_LIMIT = 1 << 20, /* bytes; the broker's longest has 64 entries of a list */
  CALL_LIMIT = 4096,
  DEPTH_LIMIT = 16,
  DESCRIPTORS = 8 /* in one message, at most */
};
#define INTERFACE "io.genpool.Broker1."
#define STANDARD_SOCKET "/run/genpool/io.genpool.Broker1"

/* MARK: text */

/* A text with room for size bytes; too long once it does not fit. */
struct writer {
  char *text;
  size_t size, length;
  bool is_too_long;
};

static void put(struct writer *w, const char *format, ...) {
  va_list list;
  va_start(list, format);
  int count = vsnprintf(w->text + w->length, w->size - w->length, format, list);
  va_end(list);
  if (count < 0 || (size_t)count >= w->size - w->length) w->is_too_long = true;
  else w->length += (size_t)count;
}

static void put_string(struct writer *w, const char *string) {
  put(w, "\"");
  for (const unsigned char *c = (const unsigned char *)string; *c; c++)
    if (*c < 0x20 || *c == '"' || *c == '\\') put(w, "\\u%04x", *c);
    else put(w, "%c", *c);
  put(w, "\"");
}

/* MARK: JSON */

/* A value inside of a text that was checked. */
struct json {
  const char *start, *end;
};

static const char *skip_space(const char *p, const char *end) {
  while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')) p++;
  return p;
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* The length of the character at p, 0 where it is none of UTF-8: RFC 3629. */
static int utf8_length(const char *p, const char *end) {
  const unsigned char *c = (const unsigned char *)p;
  if (*c < 0x80) return 1;
  int length = *c < 0xc2 ? 0 : *c < 0xe0 ? 2 : *c < 0xf0 ? 3 : *c < 0xf5 ? 4 : 0;
  if (end - p < length) return 0;
  for (int i = 1; i < length; i++)
    if ((c[i] & 0xc0) != 0x80) return 0;
  /* What could be said shorter, halves of pairs, and what lies behind the last character. */
  if ((*c == 0xe0 && c[1] < 0xa0) || (*c == 0xed && c[1] > 0x9f) || (*c == 0xf0 && c[1] < 0x90) || (*c == 0xf4 && c[1] > 0x8f))
    return 0;
  return length;
}

static const char *skip_string(const char *p, const char *end) {
  if (p >= end || *p != '"') return NULL;
  p++;
  while (p < end && *p != '"') {
    int length = utf8_length(p, end);
    if (length == 0 || (unsigned char)*p < 0x20) return NULL;
    if (*p == '\\') {
      if (++p >= end) return NULL;
      if (*p == 'u') {
        for (int i = 0; i < 4; i++)
          if (++p >= end || hex_digit(*p) < 0) return NULL;
      } else if (!*p || !strchr("\"\\/bfnrt", *p)) {
        return NULL;
      }
    }
    p += length;
  }
  return p < end ? p + 1 : NULL;
}

static const char *skip_number(const char *p, const char *end) {
  if (p < end && *p == '-') p++;
  if (p >= end || !is_digit(*p)) return NULL;
  if (*p == '0') p++;
  else while (p < end && is_digit(*p)) p++;
  if (p < end && *p == '.') {
    if (++p >= end || !is_digit(*p)) return NULL;
    while (p < end && is_digit(*p)) p++;
  }
  if (p < end && (*p == 'e' || *p == 'E')) {
    if (++p < end && (*p == '+' || *p == '-')) p++;
    if (p >= end || !is_digit(*p)) return NULL;
    while (p < end && is_digit(*p)) p++;
  }
  return p;
}

static const char *skip_value(const char *p, const char *end, int depth);

/* The end of an object or an array that begins at p. */
static const char *skip_list(const char *p, const char *end, int depth) {
  char close = *p == '{' ? '}' : ']';
  if (depth > DEPTH_LIMIT) return NULL;
  p = skip_space(p + 1, end);
  if (p < end && *p == close) return p + 1;
  while (p && p < end) {
    if (close == '}') {
      p = skip_string(p, end);
      if (!p) return NULL;
      p = skip_space(p, end);
      if (p >= end || *p++ != ':') return NULL;
    }
    p = skip_value(p, end, depth + 1);
    if (!p) return NULL;
    p = skip_space(p, end);
    if (p >= end) return NULL;
    if (*p == close) return p + 1;
    if (*p++ != ',') return NULL;
    p = skip_space(p, end);
  }
  return NULL;
}

/* The end of the value that begins at p, with space before it; NULL when it is none. */
static const char *skip_value(const char *p, const char *end, int depth) {
  p = skip_space(p, end);
  if (p >= end) return NULL;
  if (*p == '"') return skip_string(p, end);
  if (*p == '{' || *p == '[') return skip_list(p, end, depth);
  static const char *const words[] = {"true", "false", "null"};
  for (int i = 0; i < 3; i++) {
    size_t length = strlen(words[i]);
    if ((size_t)(end - p) >= length && memcmp(p, words[i], length) == 0) return p + length;
  }
  return skip_number(p, end);
}

/* The document in a text, which must be one object and nothing else. */
static bool json_parse(const char *text, size_t length, struct json *document) {
  const char *end = text + length, *start = skip_space(text, end);
  if (start >= end || *start != '{') return false;
  const char *after = skip_value(start, end, 0);
  if (!after || skip_space(after, end) != end) return false;
  *document = (struct json){start, after};
  return true;
}

/* Puts one character in UTF-8; false when there is no room. */
static bool add_utf8(char **to, const char *limit, uint32_t c) {
  int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  static const unsigned char heads[] = {0, 0xc0, 0xe0, 0xf0};
  if (limit - *to <= more) return false;
  *(*to)++ = (char)(heads[more] | c >> (6 * more));
  while (more-- > 0) *(*to)++ = (char)(0x80 | (c >> (6 * more) & 0x3f));
  return true;
}

static uint32_t hex4(const char *p) {
  return (uint32_t)(hex_digit(p[0]) << 12 | hex_digit(p[1]) << 8 | hex_digit(p[2]) << 4 | hex_digit(p[3]));
}

/* The text of a string, cut at a character's end after size bytes; false for another value. */
static bool json_string(struct json value, char *to, size_t size) {
  char *at = to, *limit = to + size - 1;
  if (value.start >= value.end || *value.start != '"') return false;
  for (const char *p = value.start + 1; p < value.end - 1; p++) {
    if (*p != '\\') {
      int length = utf8_length(p, value.end);
      if (limit - at < length) break;
      memcpy(at, p, (size_t)length);
      at += length;
      p += length - 1;
      continue;
    }
    uint32_t c;
    static const char names[] = "bfnrt", meanings[] = "\b\f\n\r\t";
    if (*++p == 'u') {
      c = hex4(p + 1);
      p += 4;
      if (c >= 0xd800 && c < 0xdc00 && value.end - 1 - p > 6 && p[1] == '\\' && p[2] == 'u') {
        uint32_t low = hex4(p + 3);
        if (low >= 0xdc00 && low < 0xe000) {
          c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
          p += 6;
        }
      }
      if (c == 0 || (c >= 0xd800 && c < 0xe000)) c = 0xfffd;
    } else {
      const char *name = strchr(names, *p);
      c = name ? (uint32_t)meanings[name - names] : (unsigned char)*p;
    }
    if (!add_utf8(&at, limit, c)) break;
  }
  *at = 0;
  return true;
}

/* The next member of an object from *at on, or the next element of an array; false at its end. */
static bool json_next(struct json list, const char **at, struct json *key, struct json *value) {
  const char *p = skip_space(*at ? *at : list.start + 1, list.end);
  if (p < list.end && *p == ',') p = skip_space(p + 1, list.end);
  if (p >= list.end - 1) return false;
  if (*list.start == '{') {
    const char *after = skip_string(p, list.end);
    *key = (struct json){p, after};
    p = skip_space(skip_space(after, list.end) + 1, list.end);
  }
  const char *after = skip_value(p, list.end, 0);
  *value = (struct json){p, after};
  *at = after;
  return true;
}

/* The member of that name; false when there is none, or it is null, or there are two. */
static bool json_member(struct json object, const char *name, struct json *found) {
  const char *at = NULL;
  struct json key, value;
  bool is_found = false;
  char text[64];
  if (object.start >= object.end || *object.start != '{') return false;
  while (json_next(object, &at, &key, &value))
    if (json_string(key, text, sizeof text) && strcmp(text, name) == 0) {
      if (is_found) return false;
      *found = value;
      is_found = true;
    }
  return is_found && *found->start != 'n';
}

/* A whole number from 0 to 2^63 - 1, as the broker writes them. */
static bool json_count(struct json value, uint64_t *count) {
  uint64_t number = 0;
  if (value.start >= value.end) return false;
  for (const char *p = value.start; p < value.end; p++) {
    if (!is_digit(*p) || number > (UINT64_MAX >> 1) / 10) return false;
    number = number * 10 + (uint64_t)(*p - '0');
  }
  if (number > UINT64_MAX >> 1) return false;
  *count = number;
  return true;
}

/* An address, "0x" and up to 16 digits. */
static bool json_address(struct json value, uint64_t *address) {
  char text[24];
  if (!json_string(value, text, sizeof text) || strncmp(text, "0x", 2) != 0 || !text[2] || strlen(text) > 18) return false;
  uint64_t number = 0;
  for (const char *p = text + 2; *p; p++) {
    int digit = hex_digit(*p);
    if (digit < 0) return false;
    number = number << 4 | (uint64_t)digit;
  }
  *address = number;
  return true;
}

static bool member_string(struct json object, const char *name, char *to, size_t size) {
  struct json value;
  return json_member(object, name, &value) && json_string(value, to, size);
}

static bool member_count(struct json object, const char *name, uint64_t *count) {
  struct json value;
  return json_member(object, name, &value) && json_count(value, count);
}

/* MARK: connections */

struct connection {
  int socket; /* -1 while there is none */
  char *buffer;
  size_t length, capacity; /* of what was received and not yet taken */
  size_t taken;            /* the message that was returned last, with its zero byte */
  int descriptors[DESCRIPTORS];
  int count;
};

struct genpool_client {
  char *socket, *label;
  struct connection connection;
  struct genpool_client_error error;
  struct genpool_client_lease *leases;
  int timeout;
  pid_t process;
};

struct genpool_client_lease {
  struct genpool_client *client;
  struct genpool_client_lease *next;
  struct genpool_client_facts facts;
  int descriptor;
  void *memory;
};

struct genpool_client_monitor {
  struct connection connection;
  pid_t process;
};

static int fail(struct genpool_client *client, int number, const char *format, ...) {
  va_list list;
  va_start(list, format);
  client->error.number = number;
  client->error.name[0] = 0;
  vsnprintf(client->error.text, sizeof client->error.text, format, list);
  va_end(list);
  return -number;
}

static int fail_system(struct genpool_client *client, int number, const char *operation) {
  char cause[96];
  /* GNU's, because _GNU_SOURCE is defined. */
  return fail(client, number, "%s: %s", operation, strerror_r(number, cause, sizeof cause));
}

static int begin(struct genpool_client *client) {
  if (client->process != getpid())
    return fail(client, EPERM, "the client belongs to the process that made it, not to its children");
  client->error = (struct genpool_client_error){0, "", ""};
  return 0;
}

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void drop_descriptors(struct connection *c) {
  for (int i = 0; i < c->count; i++)
    if (c->descriptors[i] >= 0) close(c->descriptors[i]);
  c->count = 0;
}

static void disconnect(struct connection *c) {
  drop_descriptors(c);
  if (c->socket >= 0) close(c->socket);
  free(c->buffer);
  *c = (struct connection){.socket = -1};
}

/* Waits until events happen; 0, or an errno. */
static int await(int socket, short events, int64_t deadline) {
  for (;;) {
    int64_t left = deadline < 0 ? -1 : deadline - now();
    if (deadline >= 0 && left < 0) left = 0;
    struct pollfd wait = {socket, events, 0};
    int count = poll(&wait, 1, left > 1000000000 ? 1000000000 : (int)left);
    if (count > 0) return 0;
    if (count == 0) {
      if (deadline >= 0 && now() >= deadline) return ETIMEDOUT;
    } else if (errno != EINTR) {
      return errno;
    }
  }
}

static int open_connection(struct connection *c, const char *path, int64_t deadline) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) return ENAMETOOLONG;
  memcpy(address.sun_path, path, strlen(path) + 1);
  c->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (c->socket < 0) return errno;
  /* EAGAIN is a queue that is full. */
  while (connect(c->socket, (struct sockaddr *)&address, sizeof address) != 0) {
    int number = errno;
    if (number == EINTR) continue;
    if (number != EAGAIN || now() >= deadline) {
      disconnect(c);
      return number == EAGAIN ? ETIMEDOUT : number;
    }
    struct timespec pause = {0, 2000000};
    nanosleep(&pause, NULL);
  }
  return 0;
}

static int send_all(struct connection *c, const char *bytes, size_t length, int64_t deadline) {
  while (length > 0) {
    ssize_t count = send(c->socket, bytes, length, MSG_NOSIGNAL);
    if (count >= 0) {
      bytes += count;
      length -= (size_t)count;
    } else if (errno == EAGAIN) {
      int number = await(c->socket, POLLOUT, deadline);
      if (number) return number;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

/* Keeps the descriptors of a message; what is too many is closed, and an error. */
static int take_descriptors(struct connection *c, struct msghdr *message) {
  int number = message->msg_flags & MSG_CTRUNC ? EMFILE : 0;
  for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int descriptor;
      memcpy(&descriptor, CMSG_DATA(head) + i * sizeof(int), sizeof(int));
      if (c->count < DESCRIPTORS) {
        c->descriptors[c->count++] = descriptor;
      } else {
        close(descriptor);
        number = EPROTO;
      }
    }
  }
  return number;
}

/* The next message, without its zero byte; valid until the next call. */
static int receive(struct connection *c, int64_t deadline, const char **text, size_t *length) {
  if (c->taken) {
    memmove(c->buffer, c->buffer + c->taken, c->length - c->taken);
    c->length -= c->taken;
    c->taken = 0;
  }
  size_t searched = 0;
  for (;;) {
    char *end = c->length > searched ? memchr(c->buffer + searched, 0, c->length - searched) : NULL;
    if (end) {
      *text = c->buffer;
      *length = (size_t)(end - c->buffer);
      c->taken = *length + 1;
      return 0;
    }
    searched = c->length;
    if (c->length == c->capacity) {
      size_t capacity = c->capacity ? 2 * c->capacity : 4096;
      char *buffer = capacity > REPLY_LIMIT ? NULL : realloc(c->buffer, capacity);
      if (!buffer) return capacity > REPLY_LIMIT ? EMSGSIZE : ENOMEM;
      c->buffer = buffer;
      c->capacity = capacity;
    }
    union {
      struct cmsghdr head;
      char bytes[CMSG_SPACE(DESCRIPTORS * sizeof(int))];
    } control;
    struct iovec part = {c->buffer + c->length, c->capacity - c->length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t count = recvmsg(c->socket, &message, MSG_CMSG_CLOEXEC);
    if (count > 0) {
      int number = take_descriptors(c, &message);
      if (number) return number;
      c->length += (size_t)count;
    } else if (count == 0) {
      return ECONNRESET;
    } else if (errno == EAGAIN) {
      int number = await(c->socket, POLLIN, deadline);
      if (number) return number;
    } else if (errno != EINTR) {
      return errno;
    }
  }
}

/* MARK: calls */

static const struct {
  const char *name;
  int number;
} broker_errors[] = {
    {"PoolFull", ENOMEM},        {"PoolFragmented", ENOSPC},   {"PoolTooSmall", EINVAL},
    {"PoolBusy", EBUSY},         {"PoolRevoked", ENODEV},      {"NoSuchPool", ENOENT},
    {"NoPool", ENOENT},          {"NoSuchLease", ENOENT},      {"NoSuchDevice", ENOENT},
    {"StaleGeneration", ESTALE}, {"PermissionDenied", EACCES}, {"QuotaExceeded", EDQUOT},
    {"PoolExists", EEXIST},      {"DeviceRefused", EPERM},     {"DeviceError", EIO},
    {"InvalidParameter", EINVAL}, {"TooManyConnections", EMFILE}, {"PoolDraining", EBUSY},
    {"AccessDenied", EACCES},
};

/* The error that a reply tells, as its name and fields say. */
static int fail_as_told(struct genpool_client *client, struct json error, struct json reply) {
  char name[96];
  json_string(error, name, sizeof name);
  const char *last = strrchr(name, '.');
  last = last ? last + 1 : name;
  int number = EPROTO;
  for (size_t i = 0; i < sizeof broker_errors / sizeof *broker_errors; i++)
    if (strcmp(broker_errors[i].name, last) == 0) number = broker_errors[i].number;
  struct json parameters;
  int length = 0;
  const char *fields = "";
  if (json_member(reply, "parameters", &parameters)) {
    fields = parameters.start;
    length = (int)(parameters.end - parameters.start > 180 ? 180 : parameters.end - parameters.start);
  }
  fail(client, number, "the broker answers %s %.*s", last, length, fields);
  snprintf(client->error.name, sizeof client->error.name, "%.47s", last);
  return -number;
}

static int malformed(struct genpool_client *client, const char *method, const char *problem) {
  disconnect(&client->connection);
  return fail(client, EPROTO, "the reply to %s is not as the interface has it: %s", method, problem);
}

static int call_on(struct genpool_client *client, struct connection *c, const char *method, const char *call, size_t length,
                   int64_t deadline, struct json *parameters, bool *continues) {
  const char *text;
  size_t size;
  int number = call ? send_all(c, call, length, deadline) : 0;
  if (number == 0) number = receive(c, deadline, &text, &size);
  if (number) {
    disconnect(c);
    return fail_system(client, number, method);
  }
  struct json reply, error, more;
  if (!json_parse(text, size, &reply)) return malformed(client, method, "it is no JSON object");
  if (json_member(reply, "error", &error)) {
    drop_descriptors(c);
    if (*error.start != '"') return malformed(client, method, "its error is no string");
    return fail_as_told(client, error, reply);
  }
  if (!json_member(reply, "parameters", parameters) || *parameters->start != '{')
    return malformed(client, method, "it has no parameters");
  *continues = json_member(reply, "continues", &more) && *more.start == 't';
  return 0;
}

static int64_t deadline_of(const struct genpool_client *client) { return now() + client->timeout; }

int genpool_client_connect(struct genpool_client *client) {
  int result = begin(client);
  if (result || client->connection.socket >= 0) return result;
  int64_t deadline = deadline_of(client);
  int number = open_connection(&client->connection, client->socket, deadline);
  if (number) {
    char operation[160];
    snprintf(operation, sizeof operation, "connect %.120s", client->socket);
    return fail_system(client, number, operation);
  }
  if (!client->label) return 0;
  char call[CALL_LIMIT];
  struct writer w = {call, sizeof call, 0, false};
  put(&w, "{\"method\":\"" INTERFACE "Hello\",\"parameters\":{\"client\":");
  put_string(&w, client->label);
  put(&w, "}}");
  if (w.is_too_long) {
    disconnect(&client->connection);
    return fail(client, EINVAL, "the label is too long");
  }
  struct json parameters;
  bool continues;
  result = call_on(client, &client->connection, "Hello", call, w.length + 1, deadline, &parameters, &continues);
  drop_descriptors(&client->connection);
  /* Or the next call would go on without a name. */
  if (result) disconnect(&client->connection);
  return result;
}

/* Whether a call that failed so may have been lost with its connection. */
static bool is_lost(int result) { return result == -ECONNRESET || result == -EPIPE; }

/* Calls a method, over a new connection when the old one turns out to be gone. */
static int call(struct genpool_client *client, const char *method, const struct writer *text, int64_t patience,
                struct json *parameters, bool *continues) {
  if (text->is_too_long) return fail(client, EINVAL, "%s: the parameters are too long", method);
  for (int attempt = 0;; attempt++) {
    /* What came unasked would be taken for the answer. */
    if (client->connection.length > client->connection.taken) disconnect(&client->connection);
    int result = genpool_client_connect(client);
    if (result) return result;
    drop_descriptors(&client->connection);
    result = call_on(client, &client->connection, method, text->text, text->length + 1, deadline_of(client) + patience, parameters,
                     continues);
    if (attempt > 0 || !is_lost(result)) return result;
  }
}

/* MARK: leases */

static bool read_facts(struct json lease, struct genpool_client_facts *facts) {
  struct json value;
  uint64_t uid, pid;
  *facts = (struct genpool_client_facts){.physical = GENPOOL_CLIENT_UNKNOWN, .bus = GENPOOL_CLIENT_UNKNOWN};
  if (json_member(lease, "physical", &value) && !json_address(value, &facts->physical)) return false;
  if (json_member(lease, "bus", &value) && !json_address(value, &facts->bus)) return false;
  if (!member_count(lease, "uid", &uid) || !member_count(lease, "pid", &pid) || uid > UINT32_MAX || pid > INT32_MAX)
    return false;
  facts->uid = (uint32_t)uid;
  facts->pid = (int32_t)pid;
  return member_string(lease, "lease", facts->lease, sizeof facts->lease) &&
         member_count(lease, "generation", &facts->generation) &&
         member_string(lease, "pool", facts->pool, sizeof facts->pool) &&
         member_count(lease, "offset", &facts->offset) && member_count(lease, "size", &facts->size) &&
         member_count(lease, "mapOffset", &facts->map_offset) &&
         member_string(lease, "caching", facts->caching, sizeof facts->caching) &&
         member_string(lease, "isolation", facts->isolation, sizeof facts->isolation) &&
         member_string(lease, "state", facts->state, sizeof facts->state);
}

static int release_by_id(struct genpool_client *client, const struct genpool_client_facts *facts) {
  char text[CALL_LIMIT];
  struct writer w = {text, sizeof text, 0, false};
  put(&w, "{\"method\":\"" INTERFACE "Release\",\"parameters\":{\"lease\":");
  put_string(&w, facts->lease);
  put(&w, ",\"generation\":%llu}}", (unsigned long long)facts->generation);
  struct json parameters;
  bool continues;
  return call(client, "Release", &w, 0, &parameters, &continues);
}

/* What is wrong with a lease that came; NULL when it is as asked for. */
static const char *contradiction(const struct genpool_client_facts *facts, const struct genpool_client_request *request,
                                 int descriptor) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  if (descriptor < 0) return "its descriptor did not come";
  if (facts->size == 0 || facts->size < request->bytes) return "it is smaller than asked for";
  if (facts->size % page || facts->map_offset % page) return "it is not of whole pages";
  if (request->pool && strcmp(request->pool, facts->pool) != 0) return "it is of another pool";
  if (request->fit && strcmp(request->fit, "fixed") == 0 && facts->offset != request->offset) return "it is at another offset";
  const uint64_t addresses[] = {facts->physical, facts->bus};
  for (int i = 0; i < 2; i++) {
    if (addresses[i] == GENPOOL_CLIENT_UNKNOWN) continue;
    if (request->alignment && addresses[i] % request->alignment) return "it is not aligned";
    if (addresses[i] > UINT64_MAX - (facts->size - 1)) return "it passes the end of all addresses";
  }
  struct stat status;
  if (fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) &&
      (uint64_t)status.st_size < facts->map_offset + facts->size)
    return "its descriptor is shorter than it";
  return NULL;
}

static int write_acquire(struct genpool_client *client, const struct genpool_client_request *request, struct writer *w) {
  put(w, "{\"method\":\"" INTERFACE "Acquire\",\"parameters\":{\"bytes\":%llu", (unsigned long long)request->bytes);
  if (request->alignment) put(w, ",\"alignment\":%llu", (unsigned long long)request->alignment);
  if (request->pool) put(w, ",\"pool\":"), put_string(w, request->pool);
  if (request->fit) put(w, ",\"fit\":"), put_string(w, request->fit);
  if (request->fit && strcmp(request->fit, "fixed") == 0) put(w, ",\"offset\":%llu", (unsigned long long)request->offset);
  if (request->wait) put(w, ",\"wait\":%lld", (long long)(request->wait < 0 ? 0 : request->wait));
  put(w, ",\"requestKey\":");
  if (request->key) {
    put_string(w, request->key);
  } else {
    unsigned char bytes[16];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) return fail_system(client, errno, "getrandom");
    put(w, "\"");
    for (size_t i = 0; i < sizeof bytes; i++) put(w, "%02x", bytes[i]);
    put(w, "\"");
  }
  put(w, "}}");
  return 0;
}

int genpool_client_acquire(struct genpool_client *client, const struct genpool_client_request *request,
                           struct genpool_client_lease **lease) {
  int result = begin(client);
  if (result) return result;
  if (request->size != sizeof *request) return fail(client, EINVAL, "the request's size is another version's");
  if (request->bytes == 0 || request->bytes > INT64_MAX || request->alignment > INT64_MAX || request->offset > INT64_MAX)
    return fail(client, EINVAL, "a size from 1 to 2^63 - 1 is needed, and no greater offset or alignment");
  if (request->wait > INT64_C(366) * 24 * 3600 * 1000) return fail(client, EINVAL, "a wait of more than a year");
  char text[CALL_LIMIT];
  struct writer w = {text, sizeof text, 0, false};
  result = write_acquire(client, request, &w);
  if (result) return result;
  struct genpool_client_lease *made = calloc(1, sizeof *made);
  if (!made) return fail_system(client, ENOMEM, "Acquire");

  struct json parameters, value;
  bool continues;
  uint64_t index;
  result = call(client, "Acquire", &w, request->wait > 0 ? request->wait : 0, &parameters, &continues);
  if (result == 0 && (!json_member(parameters, "lease", &value) || !read_facts(value, &made->facts) ||
                      !member_count(parameters, "descriptor", &index)))
    result = malformed(client, "Acquire", "a field is missing");
  if (result) {
    free(made);
    return result;
  }
  struct connection *c = &client->connection;
  made->client = client;
  made->descriptor = -1;
  if (index < (uint64_t)c->count) {
    made->descriptor = c->descriptors[index];
    c->descriptors[index] = -1;
  }
  drop_descriptors(c);
  const char *problem = contradiction(&made->facts, request, made->descriptor);
  if (problem) {
    if (made->descriptor >= 0) close(made->descriptor);
    release_by_id(client, &made->facts);
    free(made);
    return malformed(client, "Acquire", problem);
  }
  made->next = client->leases;
  client->leases = made;
  *lease = made;
  return 0;
}

const struct genpool_client_facts *genpool_client_lease_facts(const struct genpool_client_lease *lease) {
  return &lease->facts;
}

int genpool_client_lease_descriptor(const struct genpool_client_lease *lease) { return lease->descriptor; }

int genpool_client_map(struct genpool_client_lease *lease, void **memory) {
  struct genpool_client *client = lease->client;
  int result = begin(client);
  if (result) return result;
  if (!lease->memory) {
    size_t size = (size_t)lease->facts.size;
    void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, lease->descriptor, (off_t)lease->facts.map_offset);
    if (mapped == MAP_FAILED) return fail_system(client, errno, "map the lease");
    if (madvise(mapped, size, MADV_DONTFORK) != 0) {
      int number = errno;
      munmap(mapped, size);
      return fail_system(client, number, "keep the lease from children");
    }
    /* A core file of device memory is of no use, and reading it may do something. */
    (void)madvise(mapped, size, MADV_DONTDUMP);
    lease->memory = mapped;
  }
  *memory = lease->memory;
  return 0;
}

/* Lets go of the memory; the lease remains. */
static void let_go(struct genpool_client_lease *lease) {
  if (lease->memory) munmap(lease->memory, (size_t)lease->facts.size);
  if (lease->descriptor >= 0) close(lease->descriptor);
  lease->memory = NULL;
  lease->descriptor = -1;
}

static void forget(struct genpool_client_lease *lease) {
  struct genpool_client_lease **at = &lease->client->leases;
  while (*at != lease) at = &(*at)->next;
  *at = lease->next;
  free(lease);
}

int genpool_client_release(struct genpool_client_lease *lease) {
  struct genpool_client *client = lease->client;
  int result = begin(client);
  if (result) return result;
  let_go(lease);
  result = release_by_id(client, &lease->facts);
  /* What the broker does not know is not held. */
  bool is_over = result == 0 || strcmp(client->error.name, "NoSuchLease") == 0 ||
                 strcmp(client->error.name, "StaleGeneration") == 0;
  if (is_over) forget(lease);
  return result;
}

int genpool_client_list(struct genpool_client *client,
                        int (*visit)(const struct genpool_client_facts *facts, void *context), void *context) {
  static const char text[] = "{\"method\":\"" INTERFACE "ListLeases\",\"parameters\":{},\"more\":true}";
  int result = begin(client);
  if (result) return result;
  struct writer w = {(char *)text, sizeof text, sizeof text - 1, false};
  struct json parameters, leases, key, value;
  bool continues = false;
  result = call(client, "ListLeases", &w, 0, &parameters, &continues);
  int answer = 0;
  while (result == 0) {
    if (!json_member(parameters, "leases", &leases) || *leases.start != '[')
      return malformed(client, "ListLeases", "it has no leases");
    const char *at = NULL;
    while (answer == 0 && json_next(leases, &at, &key, &value)) {
      struct genpool_client_facts facts;
      if (!read_facts(value, &facts)) return malformed(client, "ListLeases", "a field is missing");
      answer = visit(&facts, context);
    }
    drop_descriptors(&client->connection);
    if (!continues) return answer;
    result = call_on(client, &client->connection, "ListLeases", NULL, 0, deadline_of(client), &parameters, &continues);
  }
  return result;
}

/* MARK: clients */

struct genpool_client *genpool_client_new(const char *socket, const char *label) {
  if (!socket) socket = getenv("GENPOOL_SOCKET");
  if (!socket || !*socket) socket = STANDARD_SOCKET;
  struct genpool_client *client = calloc(1, sizeof *client);
  if (!client) return NULL;
  client->connection.socket = -1;
  client->socket = strdup(socket);
  client->label = label ? strdup(label) : NULL;
  client->timeout = 30000;
  client->process = getpid();
  if (!client->socket || (label && !client->label)) {
    genpool_client_free(client);
    return NULL;
  }
  return client;
}

void genpool_client_free(struct genpool_client *client) {
  if (!client) return;
  bool is_ours = client->process == getpid();
  while (client->leases) {
    struct genpool_client_lease *lease = client->leases;
    /* A child has neither the mapping nor the lease, only the descriptor. */
    if (!is_ours) lease->memory = NULL;
    let_go(lease);
    if (is_ours) release_by_id(client, &lease->facts);
    forget(lease);
  }
  disconnect(&client->connection);
  free(client->socket);
  free(client->label);
  free(client);
}

void genpool_client_set_timeout(struct genpool_client *client, int milliseconds) {
  client->timeout = milliseconds < 0 ? 0 : milliseconds;
}

const struct genpool_client_error *genpool_client_last_error(const struct genpool_client *client) { return &client->error; }

/* MARK: events */

int genpool_client_monitor_new(struct genpool_client *client, struct genpool_client_monitor **monitor) {
  static const char text[] = "{\"method\":\"" INTERFACE "Monitor\",\"more\":true}";
  int result = begin(client);
  if (result) return result;
  struct genpool_client_monitor *made = calloc(1, sizeof *made);
  if (!made) return fail_system(client, ENOMEM, "Monitor");
  made->connection.socket = -1;
  made->process = client->process;
  int64_t deadline = deadline_of(client);
  int number = open_connection(&made->connection, client->socket, deadline);
  if (number == 0) number = send_all(&made->connection, text, sizeof text, deadline);
  if (number) {
    genpool_client_monitor_free(made);
    return fail_system(client, number, "Monitor");
  }
  *monitor = made;
  return 0;
}

int genpool_client_monitor_descriptor(const struct genpool_client_monitor *monitor) { return monitor->connection.socket; }

int genpool_client_monitor_next(struct genpool_client_monitor *monitor, struct genpool_client_event *event, int milliseconds) {
  if (monitor->process != getpid()) return -EPERM;
  if (monitor->connection.socket < 0) return -ENOTCONN;
  const char *text;
  size_t length;
  int number = receive(&monitor->connection, milliseconds < 0 ? -1 : now() + milliseconds, &text, &length);
  drop_descriptors(&monitor->connection);
  if (number == ETIMEDOUT) return -ETIMEDOUT;
  struct json reply, parameters, value;
  *event = (struct genpool_client_event){.available = UINT64_MAX};
  if (number == 0 && (!json_parse(text, length, &reply) || !json_member(reply, "parameters", &parameters) ||
                      !json_member(parameters, "event", &value) || !member_string(value, "event", event->event, sizeof event->event)))
    number = EPROTO;
  if (number) {
    disconnect(&monitor->connection);
    return -number;
  }
  member_string(value, "pool", event->pool, sizeof event->pool);
  member_string(value, "lease", event->lease, sizeof event->lease);
  member_string(value, "cause", event->cause, sizeof event->cause);
  member_count(value, "available", &event->available);
  return 0;
}

void genpool_client_monitor_free(struct genpool_client_monitor *monitor) {
  if (!monitor) return;
  disconnect(&monitor->connection);
  free(monitor);
}
