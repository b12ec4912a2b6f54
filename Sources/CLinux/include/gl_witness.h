/*
 * Whether an open file description that an epoll set watches is still there.
 *
 * C because a set's items are read as text from /proc, in one buffer and without an allocation: it
 * is asked for each lease that ends.
 */
#pragma once

#include <stdint.h>

/*
 * Whether `epoll` has an item of `token`: 1 or 0. An item ends with the last reference to its open
 * file description, be that a descriptor in any process, a message in flight, a mapping or a
 * registered file of io_uring. Linux: fs/eventpoll.c, eventpoll_release_file; proc(5), fdinfo.
 * -errno when the kernel does not tell: ENOENT without /proc, EPROTO for text that is not
 * understood.
 */
int gl_witness_holds(int epoll, uint64_t token);
