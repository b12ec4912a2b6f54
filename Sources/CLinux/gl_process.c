#define _GNU_SOURCE
#include "gl_process.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

int gl_group(const char *name, gid_t *group) {
  for (size_t room = 1024; room <= 1024 * 1024; room *= 4) {
    char *buffer = malloc(room);
    if (buffer == NULL) return -ENOMEM;
    struct group entry, *found = NULL;
    int error = getgrnam_r(name, &entry, buffer, room, &found);
    if (found != NULL) *group = found->gr_gid;
    free(buffer);
    if (found != NULL) return 0;
    if (error != ERANGE) return error == 0 ? -ENOENT : -error;
  }
  return -ERANGE;
}

int gl_user(const char *name, uid_t *user) {
  for (size_t room = 1024; room <= 1024 * 1024; room *= 4) {
    char *buffer = malloc(room);
    if (buffer == NULL) return -ENOMEM;
    struct passwd entry, *found = NULL;
    int error = getpwnam_r(name, &entry, buffer, room, &found);
    if (found != NULL) *user = found->pw_uid;
    free(buffer);
    if (found != NULL) return 0;
    if (error != ERANGE) return error == 0 ? -ENOENT : -error;
  }
  return -ERANGE;
}

int gl_group_name(gid_t group, char *name, size_t capacity) {
  for (size_t room = 1024; room <= 1024 * 1024; room *= 4) {
    char *buffer = malloc(room);
    if (buffer == NULL) return -ENOMEM;
    struct group entry, *found = NULL;
    int error = getgrgid_r(group, &entry, buffer, room, &found);
    size_t length = found == NULL ? 0 : strlen(found->gr_name) + 1;
    if (found != NULL && length <= capacity) memcpy(name, found->gr_name, length);
    free(buffer);
    if (found != NULL) return length <= capacity ? 0 : -ERANGE;
    if (error != ERANGE) return error == 0 ? -ENOENT : -error;
  }
  return -ERANGE;
}

int64_t gl_raise_descriptor_limit(uint64_t wanted) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return -errno;
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) return -errno;
  }
  return limit.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur;
}

char **gl_environment(void) {
  return environ;
}
