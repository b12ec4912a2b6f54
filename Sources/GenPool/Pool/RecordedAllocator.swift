/// A ``Pool`` whose calls are written down.
public typealias RecordedPool = RecordedAllocator<VirtualSpace>

/// An allocator whose calls are written down, so that `genpool-bench replay` can play them again
/// and compare every answer: a failure from the field becomes a test.
///
/// Each line is a record of the golden traces' format (Tests/Traces/golden/FORMAT.md), numbers in
/// hexadecimal. Calls are made one after the other, in the order in which they are written. What
/// the pool refuses as misuse, and what the format has no record for, is written as a comment; a
/// pool that is not recorded pays nothing.
public final class RecordedAllocator<Space: AddressSpace>: Sendable {
  /// The pool, to be asked. What is changed here directly is not in the record.
  public let pool: RangeAllocator<Space>

  private let log: Locked<Log>

  private struct Log: ~Copyable {
    let write: @Sendable (String) -> Void
    var lastID: UInt64 = 0

    /// What the record of an allocation begins with: its number and its size.
    mutating func nextCall(_ size: ByteCount) -> String {
      lastID += 1
      return "\(hex(lastID)) \(hex(size.rawValue))"
    }
  }

  /// An empty pool and the record's head.
  ///
  /// - Parameters:
  ///   - granule: the smallest amount handed out.
  ///   - fit: how a place is chosen, unless a call says otherwise.
  ///   - name: the record's name, without spaces or line ends.
  ///   - write: takes each line, without its end. Called under a lock: it must not use the pool.
  public convenience init(
    granule: GranuleSize, fit: Fit = .first, name: String,
    write: @escaping @Sendable (String) -> Void
  ) {
    self.init(recording: RangeAllocator(granule: granule, fit: fit), name: name, write: write)
  }

  /// A pool that exists, recorded from now on. What it holds begins the record, each allocated run
  /// as one allocation at its place: calls are answered by what is allocated, not by how that came
  /// about.
  ///
  /// Nothing may change the pool meanwhile, and none of its chunks be drained: there is no record
  /// of that.
  ///
  /// - Parameters:
  ///   - pool: may be called directly again once this object is not used any more.
  ///   - name: the record's name, without spaces or line ends.
  ///   - write: takes each line, without its end. Called under a lock: it must not use the pool.
  /// - Complexity: O(words of the bitmaps).
  public init(
    recording pool: RangeAllocator<Space>, name: String, write: @escaping @Sendable (String) -> Void
  ) {
    self.pool = pool
    var log = Log(write: write)
    write("GENPOOL-TRACE 1 \(name)")
    write("P \(hex(UInt64(pool.granule.order)))")
    writeFit(pool.withState { $0.fit }, write)
    var chunks: [(chunk: RangeAllocator<Space>.Chunk, allocated: [GranuleRun])] = []
    pool.forEachChunk { chunks.append(($0, $1.allocatedRuns)) }
    // Oldest first, and each filled before the next is added: the newest is the first to be
    // searched.
    for (chunk, allocated) in chunks.reversed() {
      writeChunk(
        start: chunk.start, size: chunk.size, physical: chunk.physical, owner: chunk.owner, write)
      for run in allocated {
        let call = log.nextCall(pool.granule.bytes(run.count))
        let offset = pool.granule.bytes(GranuleCount(run.first.rawValue))
        let start = hex((chunk.start + offset).rawValue)
        write("G \(call) fx:\(hex(offset.rawValue)) = \(start) \(hex(chunk.owner))")
      }
    }
    self.log = Locked(log)
  }

  /// Adds addresses as ``RangeAllocator/add(start:size:bus:owner:traits:)`` does. Bus addresses are
  /// not in the record.
  public func add(
    start: Address<Space>, size: ByteCount, bus: BusAddress? = nil, owner: Owner? = nil
  ) throws(RangeAllocator<Space>.Failure) {
    try add(start: start, size: size, anyPhysical: nil, bus: bus, owner: owner)
  }

  fileprivate func add(
    start: Address<Space>, size: ByteCount, anyPhysical physical: PhysicalAddress?,
    bus: BusAddress?, owner: Owner?
  ) throws(RangeAllocator<Space>.Failure) {
    try record { log throws(RangeAllocator<Space>.Failure) in
      try pool.add(
        start: start, size: size, physical: physical, bus: bus, owner: owner,
        traits: ChunkTraits(), backing: nil, isMapped: false)
      writeChunk(start: start, size: size, physical: physical, owner: owner, log.write)
    }
  }

  /// Sets the fit as ``RangeAllocator/setFit(_:)`` does.
  public func setFit(_ fit: Fit) throws(RangeAllocator<Space>.Failure) {
    try record { log throws(RangeAllocator<Space>.Failure) in
      try pool.setFit(fit)
      writeFit(fit, log.write)
    }
  }

  /// Allocates as ``RangeAllocator/allocate(_:fit:)`` does.
  public func allocate(_ size: ByteCount, fit: Fit? = nil) throws(RangeAllocator<Space>.Failure)
    -> RangeAllocator<Space>.Allocation
  {
    try record { log throws(RangeAllocator<Space>.Failure) in
      let call = log.nextCall(size)
      let token = fit.map { $0.token ?? "" }
      let input =
        switch token {
        case nil: "A \(call)"
        case "": "# an own algorithm: A \(call)"
        case .some(let token): "G \(call) \(token)"
        }
      do throws(RangeAllocator<Space>.Failure) {
        let made = try pool.allocate(size, fit: fit)
        log.write("\(input) = \(hex(made.start.rawValue)) \(hex(made.owner))")
        return made
      } catch {
        if error.isFailure { log.write("\(input) = 0 0") }
        throw error
      }
    }
  }

  /// Frees as ``RangeAllocator/free(_:)`` does.
  @discardableResult
  public func free(_ allocation: RangeAllocator<Space>.Allocation) throws(RangeAllocator<Space>
    .Failure) -> Owner?
  {
    try free(allocation.start, size: allocation.size)
  }

  /// Frees as ``RangeAllocator/free(_:size:)`` does.
  @discardableResult
  public func free(_ start: Address<Space>, size: ByteCount) throws(RangeAllocator<Space>.Failure)
    -> Owner?
  {
    try record { log throws(RangeAllocator<Space>.Failure) in
      let owner = try pool.free(start, size: size)
      log.write("R \(hex(start.rawValue)) \(hex(size.rawValue)) = \(hex(owner))")
      return owner
    }
  }

  private func record<Result>(
    _ body: (inout Log) throws(RangeAllocator<Space>.Failure) -> Result
  ) throws(RangeAllocator<Space>.Failure) -> Result {
    guard !pool.forkGuard.isForked else { throw .forked }
    return try log.withLock { log throws(RangeAllocator<Space>.Failure) in
      do throws(RangeAllocator<Space>.Failure) {
        return try body(&log)
      } catch {
        if !error.isFailure { log.write("# refused: \(error)") }
        throw error
      }
    }
  }
}

extension RecordedPool {
  /// Adds memory as ``Pool/add(start:size:physical:bus:owner:traits:)`` does. Bus addresses are not
  /// in the record.
  public func add(
    start: VirtualAddress, size: ByteCount, physical: PhysicalAddress?, bus: BusAddress? = nil,
    owner: Owner? = nil
  ) throws(PoolError) {
    try add(start: start, size: size, anyPhysical: physical, bus: bus, owner: owner)
  }
}

private func writeChunk<Space>(
  start: Address<Space>, size: ByteCount, physical: PhysicalAddress?, owner: Owner?,
  _ write: (String) -> Void
) {
  let place = "\(hex(start.rawValue)) \(physical.map { hex($0.rawValue) } ?? "-")"
  write("C \(place) \(hex(size.rawValue)) \(hex(owner)) = 0")
}

private func writeFit(_ fit: Fit, _ write: (String) -> Void) {
  write(fit.token.map { "S \($0)" } ?? "# an own algorithm from here on: not to be replayed")
}

extension GranuleBitmap {
  /// The maximal allocated runs, lowest first.
  fileprivate var allocatedRuns: [GranuleRun] {
    var runs: [GranuleRun] = []
    var end = 0
    func add(upTo start: Int) {
      guard start > end else { return }
      runs.append(GranuleRun(first: GranuleIndex(end), count: GranuleCount(start - end)))
    }
    forEachFreeRun { run in
      add(upTo: run.first.rawValue)
      end = run.first.rawValue + run.count.rawValue
      return true
    }
    add(upTo: count.rawValue)
    return runs
  }
}

private func hex(_ value: UInt64) -> String { String(value, radix: 16) }

private func hex(_ owner: Owner?) -> String { hex(UInt64(owner?.rawValue ?? 0)) }

extension RangeAllocator.Failure {
  /// Whether the kernel's call fails and is none the worse for it.
  fileprivate var isFailure: Bool {
    switch self {
    case .full, .fragmented, .noAlignedRun, .notFree, .emptyRequest: true
    default: false
    }
  }
}

extension Fit {
  /// The fit as traces write it; nil for own algorithms.
  package var token: String? {
    switch self {
    case .first: "ff"
    case .firstAligned(let alignment): "al:\(hex(alignment.rawValue))"
    case .orderAligned: "oa"
    case .best: "bf"
    case .fixed(let offset): "fx:\(hex(offset.rawValue))"
    case .custom: nil
    }
  }
}
