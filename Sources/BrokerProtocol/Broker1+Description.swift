extension Broker1 {
  /// The interface's text, as `GetInterfaceDescription` serves it: io.genpool.Broker1.varlink, byte
  /// for byte. It is compiled in, since a resource file needs Foundation's bundles to be found;
  /// `BrokerProtocolTests` compares the two.
  public static let interfaceDescription = #"""
    # genpool's broker leases the memory of PCIe devices to processes.
    #
    # A device's BAR, or a part of it, is attached as a pool. A client acquires a lease of whole, zeroed
    # pages and gets a file descriptor with it, to be mapped at mapOffset for size bytes. The lease
    # belongs to the connection's process: it ends by Release, or when that process has died. Closing
    # the connection alone does not end it, since mappings outlive sockets.
    #
    # Conventions: addresses are strings, "0x" and 16 digits, because many clients lose integers above
    # 2^53; sizes, offsets and alignments are integers, in bytes. Words with a fixed choice of values
    # are strings and not enums, so that a value can be added later. Fields are only ever added, and
    # only nullable ones: clients ignore fields of a reply that they do not know; the broker refuses a
    # parameter that it does not know (InvalidParameter), for it cannot keep a promise it never heard of.
    # A null field is a missing field.
    #
    # A call is one JSON object and a zero byte, 64 KiB at most. What is no call at all (no JSON, or more than
    # that) has no answer: the connection is closed.
    interface io.genpool.Broker1

    # A base address register that has been assigned. kind: "memory" or "io".
    type BAR (
      index: int,
      physical: string,
      bus: ?string,
      size: int,
      kind: string,
      prefetchable: bool,
      width64: bool
    )

    # A PCI device. address: domain:bus:device.function. vendorID, deviceID, classCode: as in
    # configuration space (16, 16 and 24 bits). powerState: "D0", "D3hot", ….
    type Device (
      address: string,
      vendorID: int,
      deviceID: int,
      classCode: int,
      className: ?string,
      name: ?string,
      driver: ?string,
      iommuGroup: ?int,
      numaNode: ?int,
      powerState: ?string,
      bars: []BAR
    )

    # An attached piece of a BAR.
    # state: "active"; "draining" when no more is leased and it is detached once nobody reaches it; or
    # "revoked" when the device stopped answering (failure says why): no more leases.
    # available: clean and free. dirty: being scrubbed, or waiting for it. leased: in leases.
    # caching: "uncached", "write-combining" or "cached".
    # isolation, what a lease's descriptor reaches: "range" (the lease), "uid-exclusive" (the whole BAR,
    # so one uid at a time: exclusiveUid), "cooperative" (the whole BAR, and that was asked for).
    # holders: live processes that were given a descriptor of it and may have it still, with or without a
    # lease now.
    # source: "sysfs", or "vfio": then a descriptor reaches not only the BAR but the whole device, its
    # configuration space too.
    # removal, what pulling the device out does to who maps it: "unnoticed" (mappings stay, and lead to
    # whatever comes to that address next), "waits" (it is complete only when every process has unmapped the
    # memory and closed its descriptors: whoever hears leaseRevoked must do so at once).
    # witness, what tells whether memory that was handed out is still reached: "file-lease" (the kernel, at any
    # time), "reopening" (the kernel, when the pool has been detached and is attached anew: VFIO), "none".
    # reach, its answer now: "free", "reached", or "unknown", which counts as reached: another uid may lease from
    # a uid-exclusive pool only when it is "free". exclusiveUid says which uid may.
    # recordFile: what the pool is asked is written to this file of the broker's. recordFailure: why it is not, or
    # not any more, or not where the configuration says now.
    type Pool (
      name: string,
      device: string,
      bar: int,
      offset: int,
      size: int,
      physical: ?string,
      bus: ?string,
      numaNode: ?int,
      granule: int,
      caching: string,
      isolation: string,
      state: string,
      failure: ?string,
      available: int,
      dirty: int,
      leased: int,
      leases: int,
      holders: int,
      largestFree: int,
      exclusiveUid: ?int,
      source: ?string,
      removal: ?string,
      witness: ?string,
      reach: ?string,
      statistics: ?Statistics,
      recordFile: ?string,
      recordFailure: ?string
    )

    # What became of the requests for a pool's memory since it was attached, and how its free memory lies now.
    # allocations, frees: leases that began, that ended. peak: the most bytes in leases at once.
    # failedFull: Acquires that ended with PoolFull or PoolTooSmall, failedFragmented: with PoolFragmented; one
    # that waited counts once, when it gives up, and one that named no pool where its error does. Nothing else that
    # refuses counts: quotas, other users, queues, alignments that the device has not.
    # freeRuns: clean free runs. fragmentation: from 0 to 1, how little of available one lease can have:
    # 1 - largestFree / available.
    type Statistics (
      allocations: int,
      frees: int,
      peak: int,
      failedFull: int,
      failedFragmented: int,
      freeRuns: int,
      fragmentation: float
    )

    # A contiguous piece of a pool's memory.
    type Chunk (
      physical: ?string,
      bus: ?string,
      size: int,
      available: int
    )

    # A run of clean free granules; offset counts from the pool's start.
    type FreeRun (
      offset: int,
      size: int
    )

    # The largest lease that alignment can get now.
    type LargestFree (
      alignment: int,
      size: int
    )

    # Memory in a client's hands.
    # generation: higher each time a pool's memory is leased again.
    # offset: from the pool's start. mapOffset: where to mmap the descriptor.
    # state: "leased", "orphaned" (its connection closed, its process lives), "quarantine" (ended, being
    # scrubbed), "revoked" (the device stopped answering, or an admin took it back: use it no longer; its
    # memory is not leased again before it is released or the process has died).
    type Lease (
      lease: string,
      generation: int,
      pool: string,
      offset: int,
      size: int,
      physical: ?string,
      bus: ?string,
      mapOffset: int,
      caching: string,
      isolation: string,
      uid: int,
      pid: int,
      state: string
    )

    # A rule that refused to attach: what it asks, of what, and how to meet it.
    type Refusal (
      rule: string,
      subject: string,
      cause: string,
      cure: ?string
    )

    # Something that happened. event:
    # "started": what happens from here on is told; the first event.
    # "regionAdded", "regionRemoved": pool was attached, detached.
    # "regionRevoked": pool's device was removed or stopped answering (cause).
    # "leaseRevoked": the holder of lease must use it no longer (cause). Told to its uid and to admins.
    # "pressure": less than an eighth of pool is free (available). Told again after a quarter was free.
    # There may be others; ignore those that you do not know.
    type Event (
      event: string,
      pool: ?string,
      available: ?int,
      lease: ?string,
      generation: ?int,
      uid: ?int,
      pid: ?int,
      cause: ?string
    )

    # Who is talking to whom. client: a name for the broker's log. admin: may Attach and Detach.
    method Hello(client: ?string) -> (
      session: string,
      version: string,
      uid: int,
      pid: int,
      admin: bool
    )

    # The machine's PCI devices that have memory, whether attached or not.
    method ListDevices() -> (devices: []Device)

    # The pools, in the order in which they were attached.
    method ListPools() -> (pools: []Pool)

    # One pool with its free memory. freeRuns: the first 1024, by offset; moreFreeRuns: there are others.
    method DescribePool(pool: string) -> (
      pool: Pool,
      chunks: []Chunk,
      freeRuns: []FreeRun,
      moreFreeRuns: bool,
      largestFree: []LargestFree
    )

    # Leases bytes, rounded up to the pool's granule, zeroed. pool: null for the first one that can.
    # alignment: a power of two, of the physical and the bus address. fit: "first" (also when null),
    # "best", "order-aligned" (to the size's next power of two) or "fixed" (at offset); alignment goes
    # with "first", offset with "fixed". requestKey: asking again with the key of a lease that
    # this session still has gives that lease again, so a client may repeat an Acquire it lost track of.
    # descriptor: the index of the lease's file descriptor among those sent with this reply.
    # wait, in milliseconds: how long to wait for memory, or for room in a quota, that others' or one's own
    # Release, or the end of a process, may bring; then the error is the one without waiting. null: only
    # while memory is being scrubbed that would do. 0: not at all. Closing the connection ends the wait.
    # First come first served: nobody gets memory of a pool that somebody waits for who asked before, but
    # waits as well, or hears PoolBusy ("queue").
    method Acquire(
      pool: ?string,
      bytes: int,
      alignment: ?int,
      fit: ?string,
      offset: ?int,
      requestKey: ?string,
      wait: ?int
    ) -> (lease: Lease, descriptor: int)

    # Ends a lease of this session. Unmap it first; no device may use it any more.
    method Release(lease: string, generation: int) -> ()

    # For admins: takes a lease back. It is revoked, and its holder told by Monitor. Nothing takes the
    # memory from the holder, so it is not leased again before the holder has released it or died.
    method ForceRelease(lease: string) -> (lease: Lease)

    # Tells what happens until the connection is closed. Needs more. Who does not read is disconnected
    # before much is kept for it.
    method Monitor() -> (event: Event)

    # The leases of the caller's uid; for admins, everyone's.
    method ListLeases(pool: ?string) -> (leases: []Lease)

    # For admins: makes a pool of size bytes from offset on of a BAR (null: to its end, from its start).
    # ERASES it. Instead of bar, memory names an NVMe controller's own, which is enabled for as long as the
    # pool exists, and taken whole: "cmb", or "pmr", whose contents were meant to last and need erase.
    # granule: a power of two, at least a page (null: a page). name: null for ADDRESS/BAR or ADDRESS/cmb.
    # allow: rules that need not hold this once. source: "vfio" for a device that is bound to vfio-pci (null:
    # "sysfs"). force: attach although an earlier run of the broker, which did not end in order, lent memory of
    # it, and the kernel cannot tell whether a process still maps it.
    method Attach(
      device: string,
      bar: ?int,
      memory: ?string,
      erase: ?bool,
      offset: ?int,
      size: ?int,
      granule: ?int,
      name: ?string,
      allow: ?[]string,
      source: ?string,
      force: ?bool
    ) -> (pool: Pool)

    # For admins: gives the BAR back. Not while there are leases or holders. unseenUid: processes of that uid may
    # still reach the memory, and the kernel cannot tell (witness): if the pool is attached again any uid may lease.
    method Detach(pool: string) -> (unseenUid: ?int, witness: ?string)

    error NoSuchPool (pool: string)

    # No pool is attached, so none could be chosen.
    error NoPool ()

    error NoSuchLease (lease: string)

    # The lease's memory was leased again since; generation is the present one.
    error StaleGeneration (lease: string, generation: int)

    # EINVAL: the pool has size bytes in all.
    error PoolTooSmall (pool: string, bytes: int, size: int)

    # ENOMEM: less than bytes are free, and nothing is being scrubbed.
    error PoolFull (pool: string, bytes: int, available: int)

    # ENOSPC: bytes are free, but not in one piece of that fit and alignment. alignment: what the place had to
    # be a multiple of, above the granule (with "order-aligned": from the pool's start); largestFree is the
    # longest free piece from such a place then. offset: where a "fixed" one had to be.
    error PoolFragmented (
      pool: string,
      bytes: int,
      available: int,
      largestFree: int,
      alignment: ?int,
      offset: ?int
    )

    # EBUSY. reason: "uid-exclusive" (another uid holds leases or descriptors), "unseen" (what processes of
    # another uid passed on may still reach the memory, and the kernel cannot tell: until the pool is detached and
    # attached again), "queue" (others asked before and wait for its memory), "leases" or "holders" (it cannot be
    # detached yet).
    error PoolBusy (pool: string, reason: string, uid: ?int, leases: int, holders: int)

    # ENODEV: its device stopped answering.
    error PoolRevoked (pool: string, cause: string)

    # A pool of that name is attached.
    error PoolExists (pool: string)

    # ENOSPC: the broker holds as many leases as it can.
    error LeaseTableFull (capacity: int)

    # EDQUOT: the caller's uid has as much as it may. what: "bytes", "leases", "connections", or
    # "all-connections" when it is all uids together but root; limit and used count those. Leases count
    # until their memory is clean again: orphaned, revoked and quarantined ones too. A connection above a
    # limit is closed with this error, whatever it was going to call.
    error QuotaExceeded (what: string, limit: int, used: int)

    # bar: null when the device itself is not there.
    error NoSuchDevice (device: string, bar: ?int)

    # The attach policy forbids it. All rules that do, not only the first.
    error DeviceRefused (device: string, rules: []Refusal)

    # The system said no: operation on subject failed with errno.
    error DeviceError (operation: string, subject: string, errno: int, cause: ?string)

    """#
}
