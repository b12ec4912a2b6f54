/*
 * The kernel's uevents, in a network namespace of one's own, so that nobody else hears them.
 *
 * Why C: Swift's Glibc module has neither <linux/netlink.h> nor unshare and setns.
 * For tests. Everything returns 0 or a value, or -errno.
 */
#pragma once
#include <stddef.h>

/*
 * Puts the calling thread into a new network namespace: sockets that it makes from now on belong there
 * for good. Needs CAP_SYS_ADMIN. Returns a descriptor by which to leave again.
 */
int cu_enter_network(void);

/* Takes the calling thread back, and closes the descriptor. */
int cu_leave_network(int previous);

/* A socket to send by, in the thread's namespace. */
int cu_open(void);

/*
 * Makes the kernel broadcast a uevent in the socket's namespace: `text` is what it would say of a
 * device, `add@/devices/…` and then KEY=VALUE, each with its zero. The kernel appends a SEQNUM and
 * sends it as its own. Linux 4.18+: uevent_net_broadcast.
 */
int cu_send_as_kernel(int socket, const char *text, size_t length);

/* Sends `text` to a multicast group (1: the kernel's, 2: udevd's), as the process that one is. */
int cu_send_to_group(int socket, unsigned group, const char *text, size_t length);

/* Sends `text` to one socket only, `receiver`, as the process that one is. */
int cu_send_to_socket(int socket, int receiver, const char *text, size_t length);

/* The size of a socket's receive buffer. The kernel doubles what was asked for. */
int cu_receive_buffer(int socket);
