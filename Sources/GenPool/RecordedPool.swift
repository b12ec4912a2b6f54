/// A pool whose calls are written down, so that `genpool-bench replay` can play them again and compare
/// every answer: a failure from the field becomes a test.
///
/// Each line is a record of the golden traces' format (Tests/Traces/golden/FORMAT.md), numbers in hexadecimal. Calls are
/// made one after the other, in the order in which they are written. What the pool refuses as misuse, and what the
/// format has no record for, is written as a comment; a pool that is not recorded pays nothing.
public final class RecordedPool: Sendable {
  /// The pool, to be asked. What is changed here directly is not in the record.
  public let pool: Pool

  private let log: Locked<Log>

  private struct Log: ~Copyable {
    let write: @Sendable (String) -> Void
    var lastID: UInt64 = 0
  }

  /// An empty pool and the record's head.
  ///
  /// - Parameters:
  ///   - granule: the smallest amount handed out.
  ///   - fit: how a place is chosen, unless a call says otherwise.
  ///   - name: the record's name, without spaces or line ends.
  ///   - write: takes each line, without its end. Called under a lock: it must not use the pool.
  public init(
    granule: GranuleSize, fit: Fit = .first, name: String,
    write: @escaping @Sendable (String) -> Void
  ) {
    pool = Pool(granule: granule, fit: fit)
    log = Locked(Log(write: write))
    write("GENPOOL-TRACE 1 \(name)")
    write("P \(hex(UInt64(granule.order)))")
    if let token = fit.token { write("S \(token)") }
  }

  /// As ``Pool/add(start:size:physical:bus:owner:traits:)``. Bus addresses are not in the record.
  public func add(
    start: VirtualAddress, size: ByteCount, physical: PhysicalAddress? = nil,
    bus: BusAddress? = nil, owner: Owner? = nil
  ) throws(PoolError) {
    try record { log throws(PoolError) in
      try pool.add(start: start, size: size, physical: physical, bus: bus, owner: owner)
      let place = "\(hex(start.rawValue)) \(physical.map { hex($0.rawValue) } ?? "-")"
      log.write("C \(place) \(hex(size.rawValue)) \(hex(owner)) = 0")
    }
  }

  /// As ``Pool/setFit(_:)``.
  public func setFit(_ fit: Fit) throws(PoolError) {
    try record { log throws(PoolError) in
      try pool.setFit(fit)
      log.write(
        fit.token.map { "S \($0)" } ?? "# an own algorithm from here on: not to be replayed")
    }
  }

  /// As ``Pool/allocate(_:fit:)``.
  public func allocate(_ size: ByteCount, fit: Fit? = nil) throws(PoolError) -> Allocation {
    try record { log throws(PoolError) in
      log.lastID += 1
      let call = "\(hex(log.lastID)) \(hex(size.rawValue))"
      let token = fit.map { $0.token ?? "" }
      let input =
        switch token {
        case nil: "A \(call)"
        case "": "# an own algorithm: A \(call)"
        case .some(let token): "G \(call) \(token)"
        }
      do throws(PoolError) {
        let made = try pool.allocate(size, fit: fit)
        log.write("\(input) = \(hex(made.start.rawValue)) \(hex(made.owner))")
        return made
      } catch {
        if error.isFailure { log.write("\(input) = 0 0") }
        throw error
      }
    }
  }

  /// As ``Pool/free(_:)``.
  @discardableResult
  public func free(_ allocation: Allocation) throws(PoolError) -> Owner? {
    try free(allocation.start, size: allocation.size)
  }

  /// As ``Pool/free(_:size:)``.
  @discardableResult
  public func free(_ start: VirtualAddress, size: ByteCount) throws(PoolError) -> Owner? {
    try record { log throws(PoolError) in
      let owner = try pool.free(start, size: size)
      log.write("R \(hex(start.rawValue)) \(hex(size.rawValue)) = \(hex(owner))")
      return owner
    }
  }

  private func record<Result>(
    _ body: (inout Log) throws(PoolError) -> Result
  ) throws(PoolError) -> Result {
    guard !pool.forkGuard.isForked else { throw .forked }
    return try log.withLock { log throws(PoolError) in
      do throws(PoolError) {
        return try body(&log)
      } catch {
        if !error.isFailure { log.write("# refused: \(error)") }
        throw error
      }
    }
  }
}

private func hex(_ value: UInt64) -> String { String(value, radix: 16) }

private func hex(_ owner: Owner?) -> String { hex(UInt64(owner?.rawValue ?? 0)) }

extension PoolError {
  /// Whether the kernel's call fails and is none the worse for it.
  fileprivate var isFailure: Bool {
    switch self {
    case .full, .fragmented, .emptyRequest: true
    default: false
    }
  }
}

extension Fit {
  /// The fit as traces write it; nil for own algorithms.
  fileprivate var token: String? {
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
