/*
 * What a daemon asks of the system for itself.
 *
 * Why C: the rlimit enum does not import as it is used, getgrnam_r and getpwnam_r want a buffer
 * that grows, and environ is a variable that Swift takes for unsafe between threads.
 */
#pragma once
#include <stdint.h>
#include <sys/types.h>

/* The group called `name`: 0, -ENOENT when there is none, or -errno. */
int gl_group(const char *name, gid_t *group);
/* The user called `name`, likewise. */
int gl_user(const char *name, uid_t *user);
/* A group's name and NUL: 0, -ENOENT when it has none, -ERANGE without room, or -errno. */
int gl_group_name(gid_t group, char *name, size_t room);
/*
 * Raises this process's limit of open descriptors to `wanted`, or to the hard limit if that is lower.
 * The limit then, or -errno.
 */
int64_t gl_raise_descriptor_limit(uint64_t wanted);

/* The variables of this process, environ(7): NULL behind the last one. */
char **gl_environment(void);
