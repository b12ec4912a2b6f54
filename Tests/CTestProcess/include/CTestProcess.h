/*
 * A process of its own that connects to a broker, for tests of what its death and its user mean.
 *
 * Why C: Swift does not fork, and the kernel knows a peer by the process that called connect(), so
 * no thread and no inherited socket can stand in for it. Tests only.
 */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

/*
 * Starts a process that becomes `uid` (-1: stays as it is), connects to `path`, and from then on
 * passes bytes and descriptors between the broker and *control; it keeps the descriptors, too.
 *
 * When *control is closed it closes its connection and lives on. With `forks`, a child of its own
 * holds all that it holds, until *control is closed. Returns its pid, or -errno.
 */
pid_t ct_start(const char *path, int uid, int group, bool forks, int *control);

/* How many sockets of this process are bound to `path`: a listening one, and those it accepted. */
int ct_count_sockets(const char *path);

/* Gives the calling thread a umask of its own that takes no permission away. 0, or -errno. */
int ct_unmask_thread(void);

/* Kills it with SIGKILL and waits for its end. */
void ct_kill(pid_t process);
