/* genpool_client.c: see genpool_client.h. MIT. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1 /* MSG_CMSG_CLOEXEC, getrandom, MADV_DONTFORK, MADV_WIPEONFORK */
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

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK (-1) /* an old C library: no kernel has it, as an old one */
#endif

enum {
  REPLY_LIMIT = 1 << 20, /* bytes; the broker's longest has 64 entries of a list */
  CALL_LIMIT = 4096,
  DEPTH_LIMIT = 16,
  LOST_LIMIT = 16, /* Acquires whose answers were lost */
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

/* Whether a string can be sent: all of it is UTF-8. NULL can be left out. */
static bool is_text(const char *string) {
  const char *end = string ? string + strlen(string) : NULL;
  while (string < end) {
    int length = utf8_length(string, end);
    if (length == 0) return false;
    string += length;
  }
  return true;
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
  bool has_replied; /* so that an error is a call's, and not the connection's */
};

/*
 * The process that made something. Not by its number alone: a child in a pid namespace of its own
 * can have its parent's. fork() wipes the page, and a child that shares all memory has another
 * number. Without a page, before Linux 4.14, the number is all there is.
 */
struct origin {
  volatile unsigned char *page; /* or NULL */
  pid_t process;
};

/* An Acquire whose answer was lost: the broker may have granted it. */
struct lost {
  struct lost *next;
  const char *key; /* behind body, as JSON */
  bool is_random;  /* the key is none of the caller's */
  char body[1];    /* the call, up to its key */
};

struct genpool_client {
  char *socket, *label;
  struct connection connection;
  struct genpool_client_error error;
  struct genpool_client_lease *leases;
  struct lost *lost;
  struct origin origin;
  int timeout;
  bool is_visiting; /* a visit of genpool_client_list runs */
  bool is_ending;   /* and has freed the client */
  bool was_sent;    /* some of the last call was */
  bool was_refused; /* the broker refused the connection, or may have, and did not look at the call */
  bool needs_none;  /* descriptors that cannot be received are no error, on whichever connection */
};

struct genpool_client_lease {
  struct genpool_client *client;
  struct genpool_client_lease *next;
  struct genpool_client_facts facts;
  unsigned count; /* the Acquires that gave it, less the releases */
  int descriptor;
  void *memory;
};

struct genpool_client_monitor {
  struct connection connection;
  struct origin origin;
};

/* 0, or an errno. */
static int make_origin(struct origin *origin) {
  size_t size = (size_t)sysconf(_SC_PAGESIZE);
  void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return errno;
  if (madvise(page, size, MADV_WIPEONFORK) != 0) {
    int number = errno;
    munmap(page, size);
    if (number != EINVAL) return number;
    page = NULL;
  }
  origin->page = page;
  origin->process = getpid();
  if (page) *origin->page = 1;
  return 0;
}

static bool is_here(const struct origin *origin) {
  return (!origin->page || *origin->page == 1) && origin->process == getpid();
}

static void end_origin(struct origin *origin) {
  if (origin->page) munmap((void *)(uintptr_t)origin->page, (size_t)sysconf(_SC_PAGESIZE));
}

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

/* A call that succeeded has no error, also when its first attempt had one. */
static void succeed(struct genpool_client *client) { client->error = (struct genpool_client_error){0, "", ""}; }

static int begin(struct genpool_client *client) {
  if (!is_here(&client->origin))
    return fail(client, EPERM, "the client belongs to the process that made it, not to its children");
  if (client->is_visiting) return fail(client, EBUSY, "a visit cannot use the client that lists");
  succeed(client);
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

static bool is_over(int64_t deadline) { return deadline >= 0 && now() >= deadline; }

/* Waits until events happen; 0, or an errno. A deadline below 0 is none. */
static int await(int socket, short events, int64_t deadline) {
  for (;;) {
    int64_t left = deadline < 0 ? 1000000000 : deadline - now();
    struct pollfd wait = {socket, events, 0};
    int count = poll(&wait, 1, left < 0 ? 0 : left > 1000000000 ? 1000000000 : (int)left);
    if (count > 0) return 0;
    if (count < 0 && errno != EINTR) return errno;
    if (is_over(deadline)) return ETIMEDOUT;
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
    if (number != EAGAIN || is_over(deadline)) {
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
      /* A peer that takes a little now and then is late as well. */
      if (length > 0 && is_over(deadline)) return ETIMEDOUT;
    } else if (errno == EAGAIN) {
      int number = await(c->socket, POLLOUT, deadline);
      if (number) return number;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

/*
 * Keeps the descriptors of a message. Too many are closed, and an error, as are too few, unless
 * none is needed.
 */
static int take_descriptors(struct connection *c, struct msghdr *message, bool needs_none) {
  int number = 0;
  size_t received = 0;
  for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head; head = CMSG_NXTHDR(message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    received += count;
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
  /* Cut where there was room for more: this process may have no more open. */
  if (message->msg_flags & MSG_CTRUNC) number = received < DESCRIPTORS ? EMFILE : EPROTO;
  return needs_none ? 0 : number;
}

/* The next message, without its zero byte; valid until the next call. */
static int receive(struct connection *c, bool needs_none, int64_t deadline, const char **text, size_t *length) {
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
      int number = take_descriptors(c, &message, needs_none);
      if (number) return number;
      c->length += (size_t)count;
      /* What came may be the end; a peer that sends a little now and then is late as well. */
      if (!memchr(c->buffer + searched, 0, c->length - searched) && is_over(deadline)) return ETIMEDOUT;
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

/* The interface's errors and varlink's own, with the errno that clients in Swift have for each. */
static const struct {
  const char *name;
  int number;
} broker_errors[] = {
    {"NoSuchPool", ENOENT},
    {"NoPool", ENOENT},
    {"NoSuchLease", ENOENT},
    {"StaleGeneration", ESTALE},
    {"PoolTooSmall", EINVAL},
    {"PoolFull", ENOMEM},
    {"PoolFragmented", ENOSPC},
    {"PoolBusy", EBUSY},
    {"PoolDraining", EBUSY},
    {"PoolDenied", EACCES},
    {"PoolRevoked", ENODEV},
    {"PoolExists", EEXIST},
    {"LeaseTableFull", ENOSPC},
    {"QuotaExceeded", EDQUOT},
    {"NoSuchDevice", ENOENT},
    {"DeviceRefused", EPERM},
    {"DeviceError", EIO},
    {"InterfaceNotFound", EOPNOTSUPP},
    {"MethodNotFound", EOPNOTSUPP},
    {"MethodNotImplemented", EOPNOTSUPP},
    {"InvalidParameter", EINVAL},
    {"PermissionDenied", EPERM},
    {"ExpectedMore", EOPNOTSUPP},
};

/* The errno of an error in a reply, and its name without the interface's. */
static int number_of(struct json error, struct json reply, char *name, size_t size) {
  char text[96];
  struct json parameters;
  uint64_t number;
  json_string(error, text, sizeof text);
  const char *last = strrchr(text, '.');
  snprintf(name, size, "%.*s", (int)size - 1, last ? last + 1 : text);
  /* The broker's system has numbered it. */
  if (strcmp(name, "DeviceError") == 0 && json_member(reply, "parameters", &parameters) &&
      member_count(parameters, "errno", &number) && number > 0 && number < 4096)
    return (int)number;
  for (size_t i = 0; i < sizeof broker_errors / sizeof *broker_errors; i++)
    if (strcmp(broker_errors[i].name, name) == 0) return broker_errors[i].number;
  return EOPNOTSUPP; /* the broker is newer */
}

/*
 * Whether the broker may have said so to the connection and not to a call: of a quota it says which
 * one; the others are said to a new connection before anything else.
 */
static bool is_refusal(const char *name, struct json reply, bool is_first) {
  struct json parameters;
  char what[24];
  if (strcmp(name, "QuotaExceeded") == 0)
    return json_member(reply, "parameters", &parameters) && member_string(parameters, "what", what, sizeof what) &&
           (strcmp(what, "connections") == 0 || strcmp(what, "all-connections") == 0);
  /* No admin; a broker that cannot start, and why. */
  return is_first && (strcmp(name, "PermissionDenied") == 0 || strcmp(name, "DeviceError") == 0 ||
                      strcmp(name, "DeviceRefused") == 0);
}

/* The error that a reply tells, as its name and fields say. is_first: nothing came before it. */
static int fail_as_told(struct genpool_client *client, struct json error, struct json reply, bool is_first) {
  char name[sizeof client->error.name];
  int number = number_of(error, reply, name, sizeof name);
  struct json parameters;
  int length = 0;
  const char *fields = "";
  if (json_member(reply, "parameters", &parameters)) {
    fields = parameters.start;
    length = (int)(parameters.end - parameters.start > 180 ? 180 : parameters.end - parameters.start);
    /* Not within a character. */
    while (length > 0 && (fields[length] & 0xc0) == 0x80) length--;
  }
  client->was_refused = is_refusal(name, reply, is_first);
  fail(client, number, "the broker answers %s %.*s", name, length, fields);
  memcpy(client->error.name, name, sizeof name);
  return -number;
}

static int malformed(struct genpool_client *client, const char *method, const char *problem) {
  disconnect(&client->connection);
  return fail(client, EPROTO, "the reply to %s is not as the interface has it: %s", method, problem);
}

/* Whether a call that failed so may have been lost with its connection. */
static bool is_lost(int result) { return result == -ECONNRESET || result == -EPIPE; }

/* continues is NULL where one reply is all. */
static int call_on(struct genpool_client *client, struct connection *c, const char *method, const char *call, size_t length,
                   int64_t deadline, struct json *parameters, bool *continues) {
  static const char nothing[] = "{}";
  const char *text;
  size_t size;
  struct json reply, error, more;
  client->was_refused = false;
  int number = call ? send_all(c, call, length, deadline) : 0;
  bool is_unsent = number != 0, is_first = !c->has_replied;
  if (call) client->was_sent = true;
  /* A broker that refuses the connection says why before it closes, and reads nothing. */
  if (is_lost(-number) && receive(c, client->needs_none, deadline, &text, &size) == 0 && json_parse(text, size, &reply) &&
      json_member(reply, "error", &error))
    number = 0;
  else if (number == 0)
    number = receive(c, client->needs_none, deadline, &text, &size);
  if (number) {
    disconnect(c);
    return fail_system(client, number, method);
  }
  if (!json_parse(text, size, &reply)) return malformed(client, method, "it is no JSON object");
  c->has_replied = true;
  if (json_member(reply, "error", &error)) {
    drop_descriptors(c);
    if (*error.start != '"') return malformed(client, method, "its error is no string");
    int result = fail_as_told(client, error, reply, is_first);
    if (is_unsent) client->was_refused = true;
    return result;
  }
  bool is_more = json_member(reply, "continues", &more) && *more.start == 't';
  if (is_more && !continues) return malformed(client, method, "others follow");
  if (continues) *continues = is_more;
  /* Missing parameters are none. */
  if (!json_member(reply, "parameters", parameters)) *parameters = (struct json){nothing, nothing + 2};
  if (*parameters->start != '{') return malformed(client, method, "its parameters are no object");
  return 0;
}

static int64_t deadline_of(const struct genpool_client *client) { return now() + client->timeout; }

/* Connects, if there is no connection. */
static int connect_until(struct genpool_client *client, int64_t deadline) {
  if (client->connection.socket >= 0) return 0;
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
  bool was_sent = client->was_sent;
  int result = call_on(client, &client->connection, "Hello", call, w.length + 1, deadline, &parameters, NULL);
  client->was_sent = was_sent;
  drop_descriptors(&client->connection);
  if (result) {
    /* Or the next call would go on without a name. An error was for Hello, not for that call. */
    disconnect(&client->connection);
    client->was_refused = true;
  }
  return result;
}

int genpool_client_connect(struct genpool_client *client) {
  int result = begin(client);
  return result ? result : connect_until(client, deadline_of(client));
}

/* Whether the last call, which failed, was answered. */
static bool is_answered(const struct genpool_client *client) { return client->error.name[0] && !client->was_refused; }

/* Calls a method, over a new connection when the old one turns out to be gone. */
static int call(struct genpool_client *client, const char *method, const struct writer *text, int64_t deadline,
                struct json *parameters, bool *continues) {
  client->was_sent = client->was_refused = false;
  if (text->is_too_long) return fail(client, EINVAL, "%s: the parameters are too long", method);
  for (int attempt = 0;; attempt++) {
    /* What came unasked would be taken for the answer. */
    if (client->connection.length > client->connection.taken) disconnect(&client->connection);
    int result = connect_until(client, deadline);
    if (result == 0) {
      drop_descriptors(&client->connection);
      result = call_on(client, &client->connection, method, text->text, text->length + 1, deadline, parameters, continues);
    }
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
         member_string(lease, "state", facts->state, sizeof facts->state) &&
         (!json_member(lease, "label", &value) || json_string(value, facts->label, sizeof facts->label));
}

static void write_release(struct writer *w, const struct genpool_client_facts *facts, bool is_oneway) {
  put(w, "{\"method\":\"" INTERFACE "Release\",%s\"parameters\":{\"lease\":", is_oneway ? "\"oneway\":true," : "");
  put_string(w, facts->lease);
  put(w, ",\"generation\":%llu}}", (unsigned long long)facts->generation);
}

static int release_by_id(struct genpool_client *client, const struct genpool_client_facts *facts, int64_t deadline) {
  char text[CALL_LIMIT];
  struct writer w = {text, sizeof text, 0, false};
  write_release(&w, facts, false);
  struct json parameters;
  return call(client, "Release", &w, deadline, &parameters, NULL);
}

/* The handle of the lease with that id; NULL when there is none. */
static struct genpool_client_lease *handle(const struct genpool_client *client, const char *id) {
  struct genpool_client_lease *lease = client->leases;
  while (lease && strcmp(lease->facts.lease, id) != 0) lease = lease->next;
  return lease;
}

/* What is wrong with a lease that came; NULL when it is as asked for. */
static const char *contradiction(const struct genpool_client_facts *facts, const struct genpool_client_request *request,
                                 int descriptor) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  if (descriptor < 0) return "its descriptor did not come";
  if (facts->size == 0 || facts->size < request->bytes) return "it is smaller than asked for";
  if (facts->size % page || facts->map_offset % page) return "it is not of whole pages";
  if (request->pool && strcmp(request->pool, facts->pool) != 0) return "it is of another pool";
  if (request->label && strcmp(request->label, facts->label) != 0) return "its label is another";
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

/* MARK: Acquire, and what was lost of it */

static void write_body(struct writer *w, const struct genpool_client_request *request) {
  put(w, "{\"method\":\"" INTERFACE "Acquire\",\"parameters\":{\"bytes\":%llu", (unsigned long long)request->bytes);
  if (request->alignment) put(w, ",\"alignment\":%llu", (unsigned long long)request->alignment);
  if (request->pool) put(w, ",\"pool\":"), put_string(w, request->pool);
  if (request->fit) put(w, ",\"fit\":"), put_string(w, request->fit);
  if (request->fit && strcmp(request->fit, "fixed") == 0) put(w, ",\"offset\":%llu", (unsigned long long)request->offset);
  if (request->label) put(w, ",\"label\":"), put_string(w, request->label);
}

/* 0, or an errno. */
static int write_key(struct writer *w, const char *key) {
  unsigned char bytes[16];
  if (key) {
    put_string(w, key);
    return 0;
  }
  if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) return errno;
  put(w, "\"");
  for (size_t i = 0; i < sizeof bytes; i++) put(w, "%02x", bytes[i]);
  put(w, "\"");
  return 0;
}

/* Asks for what may have been lost, or asks for the first time. wait is the request's. */
static int call_acquire(struct genpool_client *client, const struct lost *lost, int64_t wait, int64_t deadline,
                        struct json *parameters) {
  char text[CALL_LIMIT];
  struct writer w = {text, sizeof text, 0, false};
  put(&w, "%s,\"requestKey\":%s", lost->body, lost->key);
  if (wait) put(&w, ",\"wait\":%lld", (long long)(wait < 0 ? 0 : wait));
  put(&w, "}}");
  return call(client, "Acquire", &w, deadline, parameters, NULL);
}

static void forget_lost(struct genpool_client *client, struct lost *lost) {
  for (struct lost **at = &client->lost; *at; at = &(*at)->next)
    if (*at == lost) {
      *at = lost->next;
      break;
    }
  free(lost);
}

/* Asks again for what was lost, and gives back what that brings. */
static int settle(struct genpool_client *client, struct lost *lost, int64_t deadline) {
  struct json parameters, value;
  struct genpool_client_facts facts;
  struct connection *c = &client->connection;
  client->needs_none = true;
  int result = call_acquire(client, lost, -1, deadline, &parameters);
  client->needs_none = false;
  if (result == 0) {
    if (!json_member(parameters, "lease", &value) || !read_facts(value, &facts))
      return malformed(client, "Acquire", "a field is missing");
    drop_descriptors(c);
    /* With a key of the caller's it may be one that the client has. */
    if (!handle(client, facts.lease)) result = release_by_id(client, &facts, deadline);
  }
  if (result && !is_answered(client)) return result;
  forget_lost(client, lost);
  return 0;
}

/* Settles all but one. The last error, 0 without any. */
static int settle_others(struct genpool_client *client, const struct lost *one, int64_t deadline) {
  int result = 0;
  for (struct lost *next, *lost = client->lost; lost; lost = next) {
    next = lost->next;
    int failure = lost == one ? 0 : settle(client, lost, deadline);
    if (failure) result = failure;
  }
  return result;
}

/* The entry for a request: the one that was lost with the same parameters, or a new one. */
static int find_lost(struct genpool_client *client, const struct genpool_client_request *request, struct lost **found) {
  char body[CALL_LIMIT], key[CALL_LIMIT];
  struct writer b = {body, sizeof body, 0, false}, k = {key, sizeof key, 0, false};
  write_body(&b, request);
  int number = write_key(&k, request->key);
  if (number) return fail_system(client, number, "getrandom");
  if (b.is_too_long || k.is_too_long || b.length + k.length > CALL_LIMIT - 64)
    return fail(client, EINVAL, "Acquire: the parameters are too long");
  for (struct lost *lost = client->lost; lost; lost = lost->next)
    if (strcmp(lost->body, body) == 0 && (request->key ? strcmp(lost->key, key) == 0 : lost->is_random)) {
      *found = lost;
      return 0;
    }
  struct lost *made = calloc(1, sizeof *made + b.length + 1 + k.length + 1);
  if (!made) return fail_system(client, ENOMEM, "Acquire");
  memcpy(made->body, body, b.length + 1);
  made->key = memcpy(made->body + b.length + 1, key, k.length + 1);
  made->is_random = !request->key;
  *found = made;
  return 0;
}

/* The lease that an Acquire brought. is_settled: nothing of it is held without a handle. */
static int take_lease(struct genpool_client *client, const struct genpool_client_request *request, struct json parameters,
                      int64_t deadline, struct genpool_client_lease *made, struct genpool_client_lease **lease,
                      bool *is_settled) {
  struct connection *c = &client->connection;
  struct json value;
  uint64_t index;
  *is_settled = false;
  if (!json_member(parameters, "lease", &value) || !read_facts(value, &made->facts))
    return malformed(client, "Acquire", "a field is missing");
  int descriptor = -1;
  if (member_count(parameters, "descriptor", &index) && index < (uint64_t)c->count) {
    descriptor = c->descriptors[index];
    c->descriptors[index] = -1;
  }
  drop_descriptors(c);
  struct genpool_client_lease *past = handle(client, made->facts.lease);
  const char *problem = contradiction(&made->facts, request, descriptor);
  if (problem) {
    if (descriptor >= 0) close(descriptor);
    /* One that the client has already stays as it is. */
    *is_settled = past || release_by_id(client, &made->facts, deadline) == 0 || is_answered(client);
    return malformed(client, "Acquire", problem);
  }
  *is_settled = true;
  if (past) {
    past->facts = made->facts;
    past->count++;
    /* Its release has failed, and it is asked for anew. */
    if (past->descriptor < 0) past->descriptor = descriptor;
    else close(descriptor);
    free(made);
    *lease = past;
    return 0;
  }
  made->client = client;
  made->descriptor = descriptor;
  made->count = 1;
  made->next = client->leases;
  client->leases = made;
  *lease = made;
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
  if (!is_text(request->pool) || !is_text(request->fit) || !is_text(request->key) || !is_text(request->label))
    return fail(client, EINVAL, "the pool, the fit, the key or the label is not UTF-8");
  struct lost *lost;
  result = find_lost(client, request, &lost);
  if (result) return result;
  int64_t deadline = deadline_of(client);
  result = settle_others(client, lost, deadline);
  bool is_new = true;
  int count = 0;
  for (struct lost *one = client->lost; one; one = one->next, count++)
    if (one == lost) is_new = false;
  struct genpool_client_lease *made = NULL;
  /* What keeps others from being settled may not keep this one; but not late, and not so many. */
  if (result == 0 || (!is_over(deadline) && (!is_new || count < LOST_LIMIT))) {
    made = calloc(1, sizeof *made);
    result = made ? 0 : fail_system(client, ENOMEM, "Acquire");
  }
  if (result) {
    if (is_new) free(lost);
    return result;
  }
  struct json parameters;
  deadline += request->wait > 0 ? request->wait : 0;
  result = call_acquire(client, lost, request->wait, deadline, &parameters);
  bool was_sent = client->was_sent, is_settled = result && is_answered(client);
  if (result == 0) result = take_lease(client, request, parameters, deadline, made, lease, &is_settled);
  if (result) free(made);
  if (result == 0) succeed(client);
  if (is_settled || (is_new && !was_sent)) {
    forget_lost(client, lost);
  } else if (is_new) {
    lost->next = client->lost;
    client->lost = lost;
  }
  return result;
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
  if (lease->count > 1) {
    lease->count--;
    return 0;
  }
  let_go(lease);
  result = release_by_id(client, &lease->facts, deadline_of(client));
  /* What the broker refuses to end is not held by this process. */
  if (result == 0 || is_answered(client)) forget(lease);
  if (result == 0) succeed(client);
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
  int64_t deadline = deadline_of(client);
  result = call(client, "ListLeases", &w, deadline, &parameters, &continues);
  int answer = 0;
  while (result == 0) {
    if (!json_member(parameters, "leases", &leases) || *leases.start != '[')
      return malformed(client, "ListLeases", "it has no leases");
    const char *at = NULL;
    while (answer == 0 && json_next(leases, &at, &key, &value)) {
      struct genpool_client_facts facts;
      if (!read_facts(value, &facts)) return malformed(client, "ListLeases", "a field is missing");
      int64_t before = now();
      client->is_visiting = true;
      answer = visit(&facts, context);
      client->is_visiting = false;
      /* The time of visits is not the broker's. */
      deadline += now() - before;
      if (client->is_ending) {
        genpool_client_free(client);
        return -ECANCELED;
      }
    }
    drop_descriptors(&client->connection);
    if (!continues) {
      /* A visit may have left one. */
      succeed(client);
      return answer;
    }
    /* A broker whose pages are all in time may have no last one. */
    if (is_over(deadline)) {
      disconnect(&client->connection);
      return fail_system(client, ETIMEDOUT, "ListLeases");
    }
    result = call_on(client, &client->connection, "ListLeases", NULL, 0, deadline, &parameters, &continues);
  }
  return result;
}

/* MARK: clients */

struct genpool_client *genpool_client_new(const char *socket, const char *label) {
  if (!socket) socket = getenv("GENPOOL_SOCKET");
  if (!socket || !*socket) socket = STANDARD_SOCKET;
  if (!is_text(label)) {
    errno = EINVAL;
    return NULL;
  }
  struct genpool_client *client = calloc(1, sizeof *client);
  if (!client) return NULL;
  client->connection.socket = -1;
  client->timeout = 30000;
  int number = make_origin(&client->origin);
  if (number == 0) {
    client->socket = strdup(socket);
    client->label = label ? strdup(label) : NULL;
    if (!client->socket || (label && !client->label)) number = ENOMEM;
  }
  if (number) {
    end_origin(&client->origin);
    free(client->socket);
    free(client->label);
    free(client);
    errno = number;
    return NULL;
  }
  return client;
}

/* Gives all leases back, by one answer: the others are told before, without one. */
static void release_all(struct genpool_client *client, int64_t deadline) {
  int result = client->leases ? -EPIPE : 0;
  for (int attempt = 0; attempt < 2 && is_lost(result); attempt++) {
    result = connect_until(client, deadline);
    for (struct genpool_client_lease *lease = client->leases; lease && result == 0; lease = lease->next) {
      char text[CALL_LIMIT];
      struct writer w = {text, sizeof text, 0, false};
      struct json parameters;
      write_release(&w, &lease->facts, lease->next != NULL);
      if (lease->next) result = -send_all(&client->connection, text, w.length + 1, deadline);
      else result = call_on(client, &client->connection, "Release", text, w.length + 1, deadline, &parameters, NULL);
    }
    /* Half a call may have gone. */
    if (result) disconnect(&client->connection);
  }
}

void genpool_client_free(struct genpool_client *client) {
  if (!client) return;
  bool is_ours = is_here(&client->origin);
  if (client->is_visiting && is_ours) {
    client->is_ending = true;
    return;
  }
  /* A child has neither the mapping nor the lease, only the descriptor. */
  for (struct genpool_client_lease *lease = client->leases; lease; lease = lease->next) {
    if (!is_ours) lease->memory = NULL;
    let_go(lease);
  }
  if (is_ours) {
    int64_t deadline = deadline_of(client);
    release_all(client, deadline);
    settle_others(client, NULL, deadline);
  }
  while (client->leases) forget(client->leases);
  while (client->lost) forget_lost(client, client->lost);
  disconnect(&client->connection);
  end_origin(&client->origin);
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
  int64_t deadline = deadline_of(client);
  int number = make_origin(&made->origin);
  if (number == 0) number = open_connection(&made->connection, client->socket, deadline);
  if (number == 0) number = send_all(&made->connection, text, sizeof text, deadline);
  /* A broker that refuses the connection has said why, which the first event tells. */
  if (number && !is_lost(-number)) {
    genpool_client_monitor_free(made);
    return fail_system(client, number, "Monitor");
  }
  *monitor = made;
  return 0;
}

int genpool_client_monitor_descriptor(const struct genpool_client_monitor *monitor) { return monitor->connection.socket; }

int genpool_client_monitor_next(struct genpool_client_monitor *monitor, struct genpool_client_event *event, int milliseconds) {
  if (!is_here(&monitor->origin)) return -EPERM;
  if (monitor->connection.socket < 0) return -ENOTCONN;
  const char *text;
  size_t length;
  int number = receive(&monitor->connection, false, milliseconds < 0 ? -1 : now() + milliseconds, &text, &length);
  drop_descriptors(&monitor->connection);
  if (number == ETIMEDOUT) return -ETIMEDOUT;
  struct json reply, error, parameters, value;
  char name[48];
  *event = (struct genpool_client_event){.available = UINT64_MAX};
  if (number == 0 && !json_parse(text, length, &reply)) number = EPROTO;
  if (number == 0 && json_member(reply, "error", &error) && *error.start == '"')
    number = number_of(error, reply, name, sizeof name);
  if (number == 0 && (!json_member(reply, "parameters", &parameters) || !json_member(parameters, "event", &value) ||
                      !member_string(value, "event", event->event, sizeof event->event)))
    number = EPROTO;
  if (number) {
    disconnect(&monitor->connection);
    return -number;
  }
  member_string(value, "pool", event->pool, sizeof event->pool);
  member_string(value, "lease", event->lease, sizeof event->lease);
  member_string(value, "cause", event->cause, sizeof event->cause);
  member_string(value, "label", event->label, sizeof event->label);
  member_count(value, "available", &event->available);
  return 0;
}

void genpool_client_monitor_free(struct genpool_client_monitor *monitor) {
  if (!monitor) return;
  disconnect(&monitor->connection);
  end_origin(&monitor->origin);
  free(monitor);
}
