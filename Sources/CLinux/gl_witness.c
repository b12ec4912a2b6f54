#define _GNU_SOURCE
#include "gl_witness.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Whether a line is of `token`: "tfd:        5 events:        0 data:               2a  pos:0 …". */
static int is_of(const char *line, uint64_t token) {
  unsigned descriptor, events;
  uint64_t data;
  if (sscanf(line, "tfd: %u events: %x data: %" SCNx64, &descriptor, &events, &data) != 3) return -EPROTO;
  return data == token;
}

int gl_witness_holds(int epoll, uint64_t token) {
  char path[40], text[4096];
  snprintf(path, sizeof path, "/proc/self/fdinfo/%d", epoll);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return -errno;
  size_t kept = 0;
  int result = 0;
  while (result == 0) {
    ssize_t got = read(file, text + kept, sizeof text - 1 - kept);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) result = -errno;
    if (got <= 0) break;
    kept += (size_t)got;
    text[kept] = 0;
    char *line = text, *end;
    while (result == 0 && (end = strchr(line, '\n')) != NULL) {
      *end = 0;
      if (strncmp(line, "tfd:", 4) == 0) result = is_of(line, token);
      line = end + 1;
    }
    kept = (size_t)(text + kept - line);
    memmove(text, line, kept);
    if (kept == sizeof text - 1) result = -EPROTO;
  }
  if (result == 0 && kept > 0) result = -EPROTO;
  close(file);
  return result;
}
