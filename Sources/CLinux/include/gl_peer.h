/*
 * Who is at the other end of a Unix socket, and whether that process lives.
 *
 * Why C: struct ucred and pidfd_open (a bare system call in glibc 2.36) are out of Swift's reach, and
 * SO_PEERPIDFD is younger than Debian 12's headers.
 *
 * All return 0 or a new descriptor (closed on exec), or -errno.
 */
#pragma once
#include <stdint.h>
#include <sys/types.h>

/* The process that called connect(), as it was then. pid 0: it is in a namespace out of sight. */
int gl_peer_credentials(int socket, pid_t *pid, uid_t *uid, gid_t *gid);
/* Its supplementary groups then: up to *count are stored, *count is set. -ERANGE: there are more. */
int gl_peer_groups(int socket, gid_t *groups, int *count);
/*
 * A pidfd of it: readable once the process has died, never that of another process with the same
 * number. -ENOPROTOOPT before Linux 6.5: then gl_pidfd_open, and a look at the socket afterwards.
 */
int gl_peer_pidfd(int socket);
int gl_pidfd_open(pid_t pid);
/*
 * The inode of a pidfd: that of no other process until the machine starts again. -ENOTSUP before
 * Linux 6.9.
 */
int64_t gl_pidfd_inode(int pidfd);
/* 1 when the pidfd's process has died, 0 when not. */
int gl_has_died(int pidfd);
/*
 * Makes the kernel name the process that sends what is received from now on. Call it before the
 * peer is asked for anything: what was sent earlier names no process.
 */
int gl_want_senders(int socket);
/*
 * Receives bytes, waiting up to `milliseconds`, and names the process that sent them, which need
 * not be the one that listened: a service manager does that for its services. *pid is 0 when it is
 * in a namespace out of sight. Returns the count, 0 at the peer's end; -EAGAIN when none came in
 * time.
 */
ssize_t gl_receive_naming_sender(
  int socket, void *bytes, size_t capacity, int milliseconds, pid_t *pid);
/* 1 when the other end is closed in both directions, 0 when not. */
int gl_is_hung_up(int socket);
