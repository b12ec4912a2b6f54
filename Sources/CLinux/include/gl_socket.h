/*
 * Unix sockets: listening, connecting, and messages that carry descriptors.
 *
 * Why C: sockaddr_un is a tuple of 108 in Swift, and the CMSG_ macros do not import.
 *
 * All return 0 or a count or a new descriptor (closed on exec), or -errno. A leading '@' in a path is
 * the abstract namespace. A path that is too long is -ENAMETOOLONG.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The most descriptors that one message carries here. */
enum { GL_DESCRIPTORS_MAX = 16 };

/*
 * Connections that wait to be accepted; who connects then waits in connect(). First come first served,
 * so a long queue is what a crowd makes others wait for.
 */
enum { GL_BACKLOG = 64 };

/*
 * A listening, non-blocking stream socket at `path`, which must not exist. Connections are refused
 * before its mode and group ((gid_t)-1: leave it) are as asked, and the file never has more
 * permissions than `mode` has.
 */
int gl_listen(const char *path, mode_t mode, gid_t group);
/* A connected, blocking stream socket. */
int gl_connect(const char *path);
/* 1 when a process listens at `path`, 0 when none does, -ENOENT when there is no file. Never waits. */
int gl_is_served(const char *path);
/*
 * The path that a Unix socket is bound to. -ENOENT when it has none, -ENAMETOOLONG when it does not
 * fit, -EINVAL for an abstract name with NULs.
 */
int gl_socket_path(int socket, char *path, size_t capacity);
/* The next connection, non-blocking; -EAGAIN when none waits. */
int gl_accept(int socket);
/* A blocking datagram socket without a name, to send from. */
int gl_datagram_create(void);
/* Sends one datagram to the socket at `path`. */
int gl_send_datagram(int sender, const char *path, const void *bytes, size_t count);

/*
 * Sends bytes, and with the first of them the descriptors, as far as the socket takes them. How many
 * bytes went; if any went, all descriptors did. Never raises SIGPIPE. Unless it `waits`, -EAGAIN on
 * a blocking socket too.
 */
ssize_t gl_send(int socket, const void *bytes, size_t count, const int *descriptors,
                int descriptor_count, bool waits);
/*
 * SIOCOUTQ: the memory of what was sent and not received, some hundred bytes for each message;
 * 0 when that is nothing or the kernel does not tell.
 */
int gl_unreceived(int socket);
/* How long receiving waits on a blocking socket before it is -EAGAIN; 0: for ever. SO_RCVTIMEO. */
int gl_limit_receiving(int socket, int64_t microseconds);
/*
 * Receives bytes, and the descriptors that came with them. `*descriptor_count` is the room on entry,
 * their number on return; they are one unit: if there are more than fit, all are closed and -EMSGSIZE
 * is returned, and the bytes are lost with them. With `descriptors` NULL none is wanted: the kernel
 * closes what comes, and the bytes are received all the same. 0 bytes: the other end has closed.
 * -EINTR when a signal came while it waited.
 */
ssize_t gl_receive(int socket, void *bytes, size_t capacity, int *descriptors,
                   int *descriptor_count);
