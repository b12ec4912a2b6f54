extension RangeAllocator {
  /// A refusal of an allocator. Nothing has changed when one of these is thrown: what the kernel
  /// answers with `BUG()` is found out beforehand.
  public enum Failure: Error, Hashable, Sendable {
    /// 0 bytes were asked for. The kernel returns 0.
    case emptyRequest
    /// Fewer bytes than asked for are free in every chunk. The kernel returns 0.
    case full(requested: ByteCount, available: ByteCount)
    /// Enough bytes are free in some chunk, but no run of them fits: the longest is `largest`. The
    /// kernel returns 0.
    ///
    /// It may be no shorter than the request where it was asked for by an own algorithm, with an
    /// alignment that is no power of two, under constraints, or where another thread just freed it.
    case fragmented(requested: ByteCount, available: ByteCount, largest: ByteCount)
    /// Enough bytes are free in some chunk, but not from a multiple of `alignment` on, which is the
    /// fit's power of two, or the request's for ``Fit/orderAligned``: the longest run from such a
    /// place is `largest`. The kernel returns 0.
    // What is free is not said here: with it the error would not fit in registers, and each failure
    // of any kind would take longer.
    case noAlignedRun(requested: ByteCount, alignment: ByteCount, largest: ByteCount)
    /// Enough bytes are free in some chunk, but not at the offset that ``Fit/fixed(offset:)``
    /// names: they are allocated, it is outside every chunk, or inside a granule. The kernel
    /// returns 0.
    case notFree(requested: ByteCount, offset: ByteCount)
    /// No chunk could ever meet the constraints, however empty; and the first reason that holds for
    /// all of them.
    case unconstrainable(requested: ByteCount, UnmetConstraint)
    /// A boundary is no power of two.
    case boundaryIsNoPowerOfTwo(ByteCount)
    /// The alignment is 0. The kernel fails, or never returns.
    case alignmentIsZero
    /// The place found is aligned for the CPU but not on the bus, because the host bridge's offset
    /// is no multiple of the alignment.
    case busMisaligned(bus: BusAddress, alignment: ByteCount)
    /// An own algorithm chose a run that reaches past the chunk. The kernel would write past its
    /// map.
    case fitOutOfRange(GranuleIndex)
    /// An own algorithm chose allocated granules twice in a row. The kernel would ask it for ever.
    case fitNotFree(GranuleIndex)

    /// The address lies in no chunk. The kernel calls `BUG()`.
    case noSuchAddress(Address<Space>)
    /// The range reaches past the chunk's end, or wraps. The kernel calls `BUG()`.
    case pastChunkEnd(Address<Space>, ByteCount)
    /// A granule of the range is not allocated: freed twice, or never handed out. The kernel calls
    /// `BUG()`. The address is that granule's.
    case notAllocated(Address<Space>)
    /// The address was in a chunk that has been removed: what was allocated there is lost.
    case gone(Address<Space>)

    /// The chunk would start at address 0, which C callers cannot tell from failure.
    case chunkAtZero
    /// The chunk would pass the end of an address space.
    case chunkWraps(Address<Space>, ByteCount)
    /// The chunk would overlap one that starts at the given address.
    case chunkOverlaps(Address<Space>)
    /// There is no memory, or no address space, for the chunk's bitmap: a bit for each granule, and
    /// less than two for the index. Only what is used takes memory, but a limit of address space
    /// (RLIMIT_AS) and a machine that counts everything (vm.overcommit_memory = 2) count all of it.
    /// A chunk of 2^56 granules has no room for it anywhere. The kernel returns -ENOMEM.
    case noMemory
    /// Memory was to be zeroed, but the chunk only stands for addresses.
    case notMapped(Address<Space>)

    /// The pool was to end, or a chunk to be removed, with this much still allocated. The kernel
    /// calls `BUG()`.
    case outstanding(ByteCount)
    /// The pool has been destroyed.
    case destroyed
    /// The process is a forked child of the pool's: its bitmap is a copy, its device memory is not.
    case forked

    /// The number of the errno that says the same (asm-generic numbers): ENOMEM full, ENOSPC
    /// fragmented, no aligned run, not free, EBUSY outstanding, ….
    public var errorNumber: Int32 {
      switch self {
      case .full, .noMemory: 12
      case .fragmented, .noAlignedRun, .notFree: 28
      case .outstanding: 16
      case .chunkOverlaps: 17
      case .noSuchAddress, .notMapped: 14
      case .destroyed, .gone: 19
      case .forked: 1
      case .emptyRequest, .alignmentIsZero, .busMisaligned, .fitOutOfRange, .fitNotFree,
        .unconstrainable, .boundaryIsNoPowerOfTwo, .pastChunkEnd, .notAllocated, .chunkAtZero,
        .chunkWraps:
        22
      }
    }
  }
}

extension RangeAllocator.Failure: CustomStringConvertible {
  /// One line: what was refused and why.
  public var description: String {
    switch self {
    case .emptyRequest: "allocate 0 bytes: nothing was asked for"
    case .full(let requested, let available):
      "allocate \(requested): no chunk has that much free (\(available) free in all)"
    case .fragmented(let requested, let available, let largest):
      "allocate \(requested): \(available) free, but no free run fits (the longest is \(largest))"
    case .noAlignedRun(let requested, let alignment, let largest):
      "allocate \(requested): enough is free, but no \(requested) at a multiple of \(alignment): the "
        + "longest piece from such a place is \(largest)"
    case .notFree(let requested, let offset):
      "allocate \(requested): no chunk has \(requested) free at offset "
        + "0x\(hexadecimal(offset.rawValue, digits: 1)) (or it is outside all chunks, or inside a granule)"
    case .unconstrainable(let requested, let unmet):
      "allocate \(requested): no chunk could meet the constraints, however empty: \(unmet)"
    case .boundaryIsNoPowerOfTwo(let boundary): "a boundary of \(boundary) is no power of two"
    case .alignmentIsZero: "an alignment of 0 bytes fits nothing"
    case .busMisaligned(let bus, let alignment):
      "the place found has bus address \(bus), which is no multiple of \(alignment): the host "
        + "bridge's offset breaks the alignment"
    case .fitOutOfRange(let index):
      "the custom fit chose granule \(index.rawValue): the run reaches past the chunk"
    case .fitNotFree(let index):
      "the custom fit insists on granule \(index.rawValue), where not all is free"
    case .noSuchAddress(let address): "\(address) is in no chunk of the pool"
    case .pastChunkEnd(let address, let size):
      "\(size) from \(address) on reach past the end of the chunk"
    case .notAllocated(let address):
      "free: the granule at \(address) is not allocated (freed twice, or never handed out)"
    case .gone(let address): "\(address) was in a chunk that has been removed"
    case .chunkAtZero: "a chunk cannot start at address 0"
    case .chunkWraps(let start, let size):
      "a chunk of \(size) at \(start) would pass the end of the address space"
    case .chunkOverlaps(let start): "the chunk overlaps the one at \(start)"
    case .noMemory: "no memory for the chunk's bitmap"
    case .notMapped(let address): "\(address) is not mapped memory of this process"
    case .outstanding(let size): "\(size) are still allocated"
    case .destroyed: "the pool has been destroyed"
    case .forked: "the pool belongs to the parent process: a forked child may only query it"
    }
  }
}

extension RangeAllocator {
  /// What the kernel only warns of (`WARN`): reported to the hook given to ``RangeAllocator``.
  public enum Warning: Hashable, Sendable {
    /// A ``Fit/fixed(offset:)`` offset is no multiple of the granule; once for each chunk tried.
    case offsetInsideGranule(offset: ByteCount, chunk: Address<Space>)
  }
}

extension RangeAllocator.Warning: CustomStringConvertible {
  /// One line: what was done, and why nothing came of it.
  public var description: String {
    switch self {
    case .offsetInsideGranule(let offset, let chunk):
      "a fixed offset of \(offset) into the chunk at \(chunk) is no multiple of the granule"
    }
  }
}
