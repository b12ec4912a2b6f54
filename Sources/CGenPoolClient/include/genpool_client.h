/*
 * genpool_client.h: leases of device memory from genpoold, in C alone.
 *
 * This header and genpool_client.c are all of it: copy both into a program, or link
 * -lgenpool-client. No other library, no runtime. C99 or C++11, 64-bit Linux. MIT.
 *
 * A client, with its leases, belongs to one thread at a time, and to the process that made it, as a
 * monitor does. In a forked child genpool_client_connect, _acquire, _map, _release, _list,
 * _monitor_new and _monitor_next answer -EPERM; genpool_client_free and _monitor_free free the
 * child's copy, and nothing is released; the others read or set the copy. Before Linux 4.14 the
 * process is known by its pid alone, which a child in another pid namespace may share.
 *
 * A function returns 0, or a negative errno; genpool_client_last_error tells the rest. Text is
 * UTF-8; other text is -EINVAL, and is not sent. Nothing is printed, no signal is raised or
 * handled.
 *
 * Accesses to leased memory may end in SIGBUS when its device is pulled out: see genpool(7).
 */
#ifndef GENPOOL_CLIENT_H
#define GENPOOL_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A connection to the broker, made by the first call that needs it, and again after it was lost. */
struct genpool_client;
/* Memory that is leased. Belongs to its client. */
struct genpool_client_lease;
/* What happens in the broker, by a connection of its own. */
struct genpool_client_monitor;

#define GENPOOL_CLIENT_UNKNOWN UINT64_MAX /* an address that is not known */

/* Why the last call failed; all of it is empty after one that succeeded. */
struct genpool_client_error {
  int number;     /* an errno, 0 after a call that succeeded */
  char name[48];  /* the broker's error: "PoolFull"; "" for one of the system or of the connection */
  char text[256]; /* a sentence */
};

/* What is asked for. Zeroes in all but size and bytes are sensible. */
struct genpool_client_request {
  size_t size;        /* sizeof(struct genpool_client_request) */
  const char *pool;   /* NULL for the first pool that can */
  uint64_t bytes;     /* at least 1; rounded up to the pool's granule */
  uint64_t alignment; /* of the physical and the bus address: a power of two; 0 for none */
  const char *fit;    /* "first", "best", "order-aligned", "fixed" at offset; NULL for the first */
  uint64_t offset;    /* from the pool's start, with "fixed" */
  const char *key;    /* asking again with it gives the same lease; NULL for a random one */
  const char *label;  /* for people, in lists and events: "slurm job 12"; NULL for the client's */
  int64_t wait;       /* milliseconds to wait for memory, a year at most; 0 only while some is
                         being zeroed; -1 not at all */
};

/* What is known of a lease. */
struct genpool_client_facts {
  char lease[40];     /* its id */
  uint64_t generation;
  char pool[72];      /* the pool's name */
  uint64_t offset;    /* from the pool's start, in bytes */
  uint64_t size;      /* in bytes, whole pages */
  uint64_t physical;  /* the CPU's address, or GENPOOL_CLIENT_UNKNOWN */
  uint64_t bus;       /* the address for DMA without an IOMMU, or GENPOOL_CLIENT_UNKNOWN */
  uint64_t map_offset; /* where to map the descriptor */
  char caching[24];   /* "uncached", "write-combining", "cached", or a word of a newer broker */
  char isolation[24]; /* "range", "uid-exclusive", "cooperative", likewise */
  char state[24];     /* "leased", "orphaned", "reached", "quarantine", "revoked", likewise */
  uint32_t uid;
  int32_t pid;
  char label[72];     /* its holder's word for it; "" without one */
};

/* Something that happened: "leaseRevoked", …; "" and UINT64_MAX where the event does not say. */
struct genpool_client_event {
  char event[32];
  char pool[72];
  char lease[40];
  char cause[256];
  uint64_t available;
  char label[72]; /* the lease's */
};

/*
 * socket: its path; NULL for $GENPOOL_SOCKET, or the service's own. label: the client's name in
 * the broker's log, and the label of its leases that have no other, where it has 1 to 64 printable
 * ASCII characters; NULL for none. Returns NULL and errno on failure: EINVAL for a label that is
 * not UTF-8, ENOMEM or another of mmap(2) and madvise(2) without memory. Connects to nothing yet.
 */
struct genpool_client *genpool_client_new(const char *socket, const char *label);
/*
 * Releases all leases that are left, also those of which only the answer was lost, within the time
 * that one call may take; frees the client. NULL is nothing to free. In a visit of
 * genpool_client_list it does so when the visit has returned, and the list ends with -ECANCELED.
 */
void genpool_client_free(struct genpool_client *client);
/* Connects, if it is not connected. Other functions do so by themselves. */
int genpool_client_connect(struct genpool_client *client);
/* The longest that a function waits for the broker, in milliseconds; 30,000 unless set. */
void genpool_client_set_timeout(struct genpool_client *client, int milliseconds);
/* Why the last call on the client failed; valid until the next one. */
const struct genpool_client_error *genpool_client_last_error(const struct genpool_client *client);

/*
 * Leases memory, zeroed. When the connection breaks meanwhile it is asked for again, once, with the
 * same key, so that none is had twice. -ENOMEM: the pool is full; -ENOSPC: in
 * pieces; -EBUSY: another user has it; -EDQUOT: a quota; genpool_client(3) has the others. After
 * -ETIMEDOUT and other errors of the connection a lease may be held: the same request gives it, and
 * another request or genpool_client_free gives it back.
 * With the key of a lease that the client has, the same handle comes again, to be released as
 * often.
 */
int genpool_client_acquire(struct genpool_client *client, const struct genpool_client_request *request,
                           struct genpool_client_lease **lease);
const struct genpool_client_facts *genpool_client_lease_facts(const struct genpool_client_lease *lease);
/* The lease's descriptor, close-on-exec; the lease owns it. */
int genpool_client_lease_descriptor(const struct genpool_client_lease *lease);
/* Maps the lease, once, to be read and written, not in children; the same address each time. */
int genpool_client_map(struct genpool_client_lease *lease, void **memory);
/*
 * Unmaps the lease and gives it back, or counts one acquire less when there were several. No device
 * may use it any more. The lease is gone after 0, and after an error that the broker names as the
 * answer to this call; after others call this again, and only this. They are errors without a name,
 * such as -ETIMEDOUT, and those by which the broker refuses a connection, or may: QuotaExceeded,
 * any error for the client's name or before the call, and PermissionDenied, DeviceError and
 * DeviceRefused as the first reply of a new connection.
 */
int genpool_client_release(struct genpool_client_lease *lease);

/*
 * Calls visit with each lease of this user, until it does not return 0, which is returned then. A
 * visit's own calls with the client answer -EBUSY. The time of visits is none of the timeout's.
 */
int genpool_client_list(struct genpool_client *client,
                        int (*visit)(const struct genpool_client_facts *facts, void *context), void *context);

/* Tells what happens from now on. client is only asked for its socket, and for its error. */
int genpool_client_monitor_new(struct genpool_client *client, struct genpool_client_monitor **monitor);
/*
 * To be waited for with poll(2): readable when there are events, or the broker is gone. Several may
 * come at once: then call genpool_client_monitor_next with 0 until it answers -ETIMEDOUT.
 */
int genpool_client_monitor_descriptor(const struct genpool_client_monitor *monitor);
/* The next event, within so many milliseconds (-1: for ever). -ETIMEDOUT without one. */
int genpool_client_monitor_next(struct genpool_client_monitor *monitor, struct genpool_client_event *event,
                                int milliseconds);
void genpool_client_monitor_free(struct genpool_client_monitor *monitor);

#ifdef __cplusplus
}
#endif
#endif
