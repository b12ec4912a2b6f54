/*
 * A client that keeps the memory it leased beyond its lease, for isolation.sh and WitnessMatrixTests.
 *
 * attacker hold|keep --uid N --socket PATH --pool NAME --size BYTES [--wait MILLISECONDS]
 *                    [--unlock] [--game GAME] [--release] [--descriptor] [--way WAY]
 *
 * hold: the process that leases goes on. keep: its forked child does, and it dies itself.
 * --size: of the pool. A descriptor reaches all of a BAR, so the mapping is of the whole pool.
 * --uid: -1 for that of the caller.
 * --unlock: takes the broker's lock off the descriptor. --release: gives the lease back.
 * --game: locks that the lessee sets and removes on the descriptor, of which no witness may depend:
 *   ofd          F_OFD_SETLK       classic      F_SETLK
 *   flock        LOCK_EX, LOCK_UN  lease        F_SETLEASE, as far as the kernel allows it
 *   truncate     no lock: the file is cut to 0 bytes, as far as the kernel allows it
 * --descriptor: keeps the descriptor; without it the mapping alone outlives death and release.
 * --way, with keep: what the child has instead of the mapping, when the lessee has died:
 *   descriptor  the descriptor      exec    the descriptor, in a program that it executes
 *   flight      a message, not received, with the descriptor: a socket pair
 *   nested      such a socket pair's end in a message of another one
 *   ring        an io_uring with the file registered
 *   unread      the connection, and in it the broker's reply with the descriptor, not received
 *   reopen      the file, opened anew through /proc; else the descriptor, where the kernel forbids that
 *   namespace   the mapping, in a grandchild in user, PID and mount namespaces of its own
 *
 * It speaks varlink itself, since an attacker uses no library of ours. The first line it prints is
 * "granted", or "refused ERROR [REASON]", after which it ends with status 3. The next is "pid N", the
 * process that has the mapping now. That reads commands, one a line, and prints one line for each:
 *   write TEXT   at the start of the leased memory
 *   read         the text there
 *   find TEXT    "found" or "absent": at the start of any page of the pool
 *   flood TEXT   at the start of each page of the pool
 *   drop         unmaps the memory and closes the descriptor; the connection stays open: "dropped"
 * An access that the kernel refuses is answered with "fault".
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { PAGE = 4096, TEXT = 32, MESSAGE = 65536, REFUSED = 3 };

struct connection {
  int socket;
  char reply[MESSAGE];
  int descriptor; /* of the last reply, -1 without one */
};

struct memory {
  volatile char *pool;
  size_t size;
  size_t lease; /* the lease's offset in the pool */
  int descriptor;
};

static sigjmp_buf faulted;

static void on_fault(int signal) { siglongjmp(faulted, signal); }

/* varlink */

static void connect_to(struct connection *c, const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) errx(2, "%s: too long", path);
  strcpy(address.sun_path, path);
  c->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(c->socket, (struct sockaddr *)&address, sizeof address) != 0) err(2, "connect %s", path);
}

/* Receives a piece of the reply, and the descriptor that comes with it. */
static size_t receive(struct connection *c, size_t have) {
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control;
  struct iovec piece = {c->reply + have, MESSAGE - have};
  struct msghdr message = {
      .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t got = recvmsg(c->socket, &message, MSG_CMSG_CLOEXEC);
  if (got <= 0) errx(2, "the broker closed the connection");
  struct cmsghdr *with = CMSG_FIRSTHDR(&message);
  if (with && with->cmsg_level == SOL_SOCKET && with->cmsg_type == SCM_RIGHTS)
    memcpy(&c->descriptor, CMSG_DATA(with), sizeof c->descriptor);
  return got;
}

/* Sends a call, a JSON object and a zero byte, and receives its reply. */
__attribute__((format(printf, 2, 3))) static void call(struct connection *c, const char *format, ...) {
  char message[1024];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(message, sizeof message, format, arguments);
  va_end(arguments);
  if (length >= (int)sizeof message) errx(2, "too long a call");
  if (send(c->socket, message, length + 1, MSG_NOSIGNAL) != length + 1) err(2, "send");
  c->descriptor = -1;
  size_t have = 0;
  do {
    if (have == MESSAGE) errx(2, "too long a reply");
    have += receive(c, have);
  } while (c->reply[have - 1] != '\0');
}

/* The value of the field with this key in the reply, NULL without one. */
static const char *field(const struct connection *c, const char *key) {
  const char *found = strstr(c->reply, key);
  return found ? found + strlen(key) : NULL;
}

static unsigned long long number(const struct connection *c, const char *key) {
  const char *value = field(c, key);
  if (!value) errx(2, "the reply has no %s: %s", key, c->reply);
  return strtoull(value, NULL, 10);
}

/* Copies the value of a field that is a string; "" without one. Errors and leases need no escapes. */
static void string(const struct connection *c, const char *key, char *into, size_t size) {
  const char *value = field(c, key);
  snprintf(into, size, "%.*s", value ? (int)strcspn(value, "\"") : 0, value ? value : "");
}

/* The memory */

static void answer(struct memory *m, const char *command, const char *text) {
  volatile char *lease = m->pool + m->lease;
  char found[TEXT] = "";
  if (sigsetjmp(faulted, 1) != 0) {
    puts("fault");
  } else if (strcmp(command, "write") == 0) {
    for (int i = 0; i < TEXT; i++) lease[i] = text[i];
    puts("written");
  } else if (strcmp(command, "read") == 0) {
    for (int i = 0; i < TEXT - 1; i++) found[i] = lease[i];
    puts(found);
  } else if (strcmp(command, "find") == 0) {
    int matches = 0;
    for (size_t page = 0; page < m->size; page += PAGE) {
      for (int i = 0; i < TEXT - 1; i++) found[i] = m->pool[page + i];
      matches += strcmp(found, text) == 0;
    }
    puts(matches ? "found" : "absent");
  } else if (strcmp(command, "flood") == 0) {
    for (size_t page = 0; page < m->size; page += PAGE)
      for (int i = 0; i < TEXT; i++) m->pool[page + i] = text[i];
    puts("flooded");
  } else if (strcmp(command, "drop") == 0) {
    if (munmap((void *)m->pool, m->size) != 0) err(2, "munmap");
    close(m->descriptor);
    puts("dropped");
  } else {
    errx(2, "no command %s", command);
  }
}

static void serve(struct memory *m) {
  struct sigaction action = {.sa_handler = on_fault};
  sigaction(SIGBUS, &action, NULL);
  sigaction(SIGSEGV, &action, NULL);
  printf("pid %d\n", getpid());
  char line[256];
  while (fgets(line, sizeof line, stdin)) {
    char text[TEXT] = "";
    line[strcspn(line, "\n")] = '\0';
    char *space = strchr(line, ' ');
    if (space) {
      *space = '\0';
      strncpy(text, space + 1, TEXT - 1);
    }
    answer(m, line, text);
  }
}

/* Ways to keep */

static void send_descriptor(int socket, int descriptor) {
  union {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
  } control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
  memcpy(CMSG_DATA(&control.header), &descriptor, sizeof descriptor);
  struct iovec piece = {"x", 1};
  struct msghdr message = {
      .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  if (sendmsg(socket, &message, 0) != 1) err(2, "send a descriptor");
}

static int in_flight(int descriptor) {
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) err(2, "socketpair");
  send_descriptor(pair[0], descriptor);
  close(descriptor);
  close(pair[0]);
  return pair[1];
}

static void register_in_ring(int descriptor) {
  struct io_uring_params parameters = {0};
  int ring = syscall(SYS_io_uring_setup, 4, &parameters);
  if (ring < 0) err(2, "io_uring_setup");
  if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, &descriptor, 1) != 0)
    err(2, "register a file");
  close(descriptor);
}

/* Replaces the descriptor by one of an open file description that the broker has not made. */
static int reopened(int descriptor) {
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
  int own = open(path, O_RDWR | O_CLOEXEC);
  printf("reopen %s\n", own < 0 ? "refused" : "granted");
  if (own < 0) return descriptor;
  close(descriptor);
  return own;
}

static void play(const char *game, int descriptor) {
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  int is_ofd = strcmp(game, "ofd") == 0;
  if (is_ofd || strcmp(game, "classic") == 0) {
    /* The broker's own lock, if it has one, may be in the way of the first. */
    fcntl(descriptor, is_ofd ? F_OFD_SETLK : F_SETLK, &whole);
    whole.l_type = F_UNLCK;
    if (fcntl(descriptor, is_ofd ? F_OFD_SETLK : F_SETLK, &whole) != 0) err(2, "take the lock off");
  } else if (strcmp(game, "flock") == 0) {
    flock(descriptor, LOCK_EX | LOCK_NB);
    if (flock(descriptor, LOCK_UN) != 0) err(2, "take the lock off");
  } else if (strcmp(game, "lease") == 0) {
    fcntl(descriptor, F_SETLEASE, F_RDLCK);
    fcntl(descriptor, F_SETLEASE, F_WRLCK);
    fcntl(descriptor, F_SETLEASE, F_UNLCK);
    fcntl(descriptor, F_SETLEASE, F_WRLCK);
  } else if (strcmp(game, "truncate") == 0) {
    /* Of sysfs and VFIO it has no effect, or fails. */
    if (ftruncate(descriptor, 0) != 0) return;
  } else {
    errx(64, "no game %s", game);
  }
}

/* Keeps what `way` says of the descriptor, and nothing else, until it is killed. */
static void keep_by(const char *way, int descriptor) {
  if (strcmp(way, "flight") == 0) {
    in_flight(descriptor);
  } else if (strcmp(way, "nested") == 0) {
    in_flight(in_flight(descriptor));
  } else if (strcmp(way, "ring") == 0) {
    register_in_ring(descriptor);
  } else if (strcmp(way, "reopen") == 0) {
    reopened(descriptor);
  } else if (strcmp(way, "exec") == 0) {
    printf("pid %d\n", getpid());
    if (fcntl(descriptor, F_SETFD, 0) != 0) err(2, "keep across exec");
    execl("/proc/self/exe", "attacker", "pause", NULL);
    err(2, "exec");
  } else if (strcmp(way, "descriptor") != 0 && strcmp(way, "unread") != 0) {
    errx(64, "no way %s", way);
  }
  printf("pid %d\n", getpid());
  for (;;) pause();
}

/* Goes on as a grandchild in other namespaces. */
static void leave_namespaces(void) {
  if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) != 0) err(2, "unshare");
  pid_t child = fork();
  if (child < 0) err(2, "fork");
  if (child == 0) {
    for (;;) pause();
  }
  printf("pid %d\n", child);
  _exit(0);
}

int main(int count, char **arguments) {
  if (count == 2 && strcmp(arguments[1], "pause") == 0) {
    for (;;) pause();
  }
  enum { UID = 1, SOCKET, POOL, SIZE, WAIT, WAY, GAME };
  int unlock = 0, release = 0, descriptor = 0;
  const struct option options[] = {
      {"uid", required_argument, NULL, UID},   {"socket", required_argument, NULL, SOCKET},
      {"pool", required_argument, NULL, POOL}, {"size", required_argument, NULL, SIZE},
      {"wait", required_argument, NULL, WAIT}, {"way", required_argument, NULL, WAY},
      {"game", required_argument, NULL, GAME},
      {"unlock", no_argument, &unlock, 1},
      {"release", no_argument, &release, 1},   {"descriptor", no_argument, &descriptor, 1},
      {0}};
  uid_t uid = 0;
  const char *socket_path = NULL, *pool = NULL, *wait = "0", *way = NULL, *game = NULL;
  struct memory memory = {0};
  for (int option; (option = getopt_long(count, arguments, "", options, NULL)) != -1;) {
    switch (option) {
      case 0: break;
      case UID: uid = strtol(optarg, NULL, 10); break;
      case SOCKET: socket_path = optarg; break;
      case POOL: pool = optarg; break;
      case SIZE: memory.size = strtoul(optarg, NULL, 10); break;
      case WAIT: wait = optarg; break;
      case WAY: way = optarg; break;
      case GAME: game = optarg; break;
      default: return 64;
    }
  }
  const char *verb = optind == count - 1 ? arguments[optind] : "";
  int keep = strcmp(verb, "keep") == 0;
  if (!uid || !socket_path || !pool || !memory.size || (!keep && strcmp(verb, "hold") != 0))
    errx(64, "wrong usage");
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (uid != (uid_t)-1 &&
      (setgroups(0, NULL) != 0 || setresgid(uid, uid, uid) != 0 || setresuid(uid, uid, uid) != 0))
    err(2, "become uid %d", uid);

  static struct connection c;
  char text[128], reason[128];
  connect_to(&c, socket_path);
  if (way && strcmp(way, "unread") == 0) {
    char message[1024];
    int length = snprintf(message, sizeof message,
                          "{\"method\":\"io.genpool.Broker1.Acquire\",\"parameters\":{\"pool\":\"%s\",\"bytes\":%d}}",
                          pool, PAGE);
    if (send(c.socket, message, length + 1, 0) != length + 1) err(2, "send");
    struct pollfd reply = {.fd = c.socket, .events = POLLIN};
    if (poll(&reply, 1, 5000) != 1) errx(2, "no reply comes");
    puts("granted");
    if (fork() == 0) keep_by(way, -1);
    _exit(0);
  }
  call(&c,
       "{\"method\":\"io.genpool.Broker1.Acquire\","
       "\"parameters\":{\"pool\":\"%s\",\"bytes\":%d,\"wait\":%s}}",
       pool, PAGE, wait);
  string(&c, "\"error\":\"", text, sizeof text);
  if (*text) {
    string(&c, "\"reason\":\"", reason, sizeof reason);
    printf("refused %s%s%s\n", text, *reason ? " " : "", reason);
    return REFUSED;
  }
  if (c.descriptor < 0) errx(2, "no descriptor came with the lease");
  memory.lease = number(&c, "\"offset\":");
  void *mapped = mmap(NULL, memory.size, PROT_READ | PROT_WRITE, MAP_SHARED, c.descriptor,
                      number(&c, "\"mapOffset\":") - memory.lease);
  if (mapped == MAP_FAILED) err(2, "map the pool");
  memory.pool = mapped;
  memory.descriptor = c.descriptor;

  struct flock whole = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
  if (unlock && fcntl(c.descriptor, F_OFD_SETLK, &whole) != 0) err(2, "take the lock off");
  if (game) play(game, c.descriptor);
  int keeps_mapping = !way || strcmp(way, "namespace") == 0;
  if ((keep || release) && !descriptor && keeps_mapping) {
    close(c.descriptor);
    memory.descriptor = -1;
  }
  if (release) {
    string(&c, "\"lease\":\"", text, sizeof text);
    call(&c,
         "{\"method\":\"io.genpool.Broker1.Release\","
         "\"parameters\":{\"lease\":\"%s\",\"generation\":%llu}}",
         text, number(&c, "\"generation\":"));
    if (field(&c, "\"error\":")) errx(2, "release: %s", c.reply);
  }
  puts("granted");
  pid_t child = keep ? fork() : 0;
  if (child < 0) err(2, "fork");
  if (child > 0) _exit(0);
  if (keep) close(c.socket);
  if (!keeps_mapping) {
    munmap(mapped, memory.size);
    keep_by(way, c.descriptor);
  }
  if (way) leave_namespaces();
  serve(&memory);
  return 0;
}
