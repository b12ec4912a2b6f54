public import CGenPool
import CGenPool.Private
import GenPool
import Glibc
import LinuxSystem
import Synchronization
import SystemPackage

/// The calls of a C program's pool on their way to a file, for `genpool-bench replay`.
///
/// Calls are made one after the other, in the order in which they are written, each line at once: a
/// program that crashes leaves what it did before. The file holds whole lines only. A call of which
/// Tests/Traces/golden/FORMAT.md has no record ends it, with a comment, because nothing behind such
/// a call could be replayed; so does a line that does not go in, which is taken out again.
final class Recording: Sendable {
  /// The cause that ended a record early.
  enum Ending {
    case noRecord(of: String)
    case failure(Errno)
  }

  struct Log: ~Copyable {
    fileprivate let path: String
    /// Nil once the record has ended.
    fileprivate var file: Descriptor?
    fileprivate var length = 0
    fileprivate var lineCount = 0
    fileprivate var ending: Ending?
    /// Behind all numbers that the head of the record gives.
    private var lastID: UInt64 = 1 << 32

    fileprivate init(_ path: String, _ file: consuming Descriptor) {
      self.path = path
      self.file = consume file
    }

    mutating func nextID() -> String {
      lastID += 1
      return hex(lastID)
    }

    /// Writes a line, given without its end.
    mutating func write(_ line: String) {
      guard let descriptor = file?.rawValue else { return }
      let bytes = Array((line + "\n").utf8)
      do {
        try FileDescriptor(rawValue: descriptor).writeAll(bytes)
        length += bytes.count
        lineCount += 1
      } catch {
        _ = ftruncate(descriptor, length)
        if length == 0 { unsafe unlink(path) }
        ending = .failure(error as? Errno ?? .ioError)
        file = nil
      }
    }

    /// Ends the record by a call that it cannot hold.
    mutating func end(by call: String) {
      guard file != nil else { return }
      write("# the record ends here: \(call) has no record")
      if ending == nil { ending = .noRecord(of: call) }
      file = nil
    }
  }

  private let log: Mutex<Log>
  /// The process that began it: a forked child does nothing to the pool, and may find the lock taken.
  private let process = getpid()

  /// Begins a record with what the pool holds.
  init(of pool: Pool, at path: String) throws(SystemError) {
    let file = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o640)
    let opened = try Descriptor(owningResult: file >= 0 ? file : -errno, of: "create", path)
    // Not a standard stream's number, which a program that was started without may write to.
    var log = Log(path, try opened.duplicate())
    let head = Mutex<[String]>([])
    withExtendedLifetime(
      RecordedPool(recording: pool, name: "pool") { line in head.withLock { $0.append(line) } }
    ) {}
    for line in head.withLock({ $0 }) { log.write(line) }
    if case .failure(let errno) = log.ending {
      // A part of a head is no record, and the next attempt is to find no file.
      unsafe unlink(path)
      throw SystemError(operation: "write", subject: path, errno: errno)
    }
    self.log = Mutex(log)
  }

  /// Makes a call of the pool that `body` writes down.
  // Nothing that locks is inlined: each file with a Mutex in it takes thread-local memory, of which
  // a library that is loaded late has little.
  @inline(never)
  func record<Result, Failure: Error>(
    _ body: (inout Log) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try log.withLock { log throws(Failure) in try body(&log) }
  }

  var isOurs: Bool { process == getpid() }

  /// Writes a line, given without its end.
  @inline(never)
  func write(_ line: String) { log.withLock { $0.write(line) } }

  /// Ends the record by a call that it cannot hold.
  @inline(never)
  func end(by call: String) { log.withLock { $0.end(by: call) } }

  /// Ends the record.
  /// - Returns: 0 for a record of all calls, else `-errno`, with the cause in ``ErrorText``.
  @inline(never) @discardableResult
  func end() -> CInt {
    log.withLock { log in
      log.file = nil
      switch log.ending {
      case nil: return 0
      case .noRecord(let call):
        ErrorText.set(
          "record to \(log.path): partial, it ends after \(log.lineCount) lines: \(call) has no record"
        )
        return -EOPNOTSUPP
      case .failure(let errno):
        ErrorText.set(
          "record to \(log.path): partial, it ends after \(log.lineCount) lines: write: \(errno)")
        return -errno.rawValue
      }
    }
  }
}

extension PoolHandle {
  @inline(__always)
  var isRecorded: Bool { unsafe hidden.pointee.recording != nil }

  /// The recording that this process's calls go through.
  @inline(never)
  var recording: Recording? {
    guard let pointer = unsafe hidden.pointee.recording else { return nil }
    let recording = unsafe Unmanaged<Recording>.fromOpaque(pointer).takeUnretainedValue()
    return recording.isOurs ? recording : nil
  }

  /// Lets go of the recording.
  func endRecording() -> Recording? {
    guard let recording, let pointer = unsafe hidden.pointee.recording else { return nil }
    unsafe hidden.pointee.recording = nil
    unsafe Unmanaged<Recording>.fromOpaque(pointer).release()
    return recording
  }

  /// Ends the pool's record, if there is one, before a call that it cannot hold.
  func endRecord(by call: String) { recording?.end(by: call) }

  /// Adds a chunk, and writes it down if the pool is recorded.
  @inline(never)
  func adding(
    chunkAt start: VirtualAddress, _ add: (Pool) throws(PoolError) -> Void
  ) throws(PoolError) {
    guard let recording else { return try add(pool) }
    try recording.record { log throws(PoolError) in
      try add(pool)
      guard let chunk = pool.chunks.first(where: { $0.start == start }) else { return }
      let physical = chunk.physical.map { hex($0.rawValue) } ?? "-"
      log.write(
        "C \(hex(start.rawValue)) \(physical) \(hex(chunk.size.rawValue)) \(hex(chunk.owner)) = 0")
    }
  }

  @inline(never)
  func allocateRecorded(_ size: Int, _ fit: Fit?) -> Allocation? {
    do throws(PoolError) {
      return try allocating(size, fit, { ($0.start, $0.owner) }) { () throws(PoolError) in
        try pool.allocate(ByteCount(UInt64(UInt(bitPattern: size))), fit: fit)
      }
    } catch {
      Self.tell(error)
      return nil
    }
  }

  /// Allocates for a device, and writes it down if the pool is recorded.
  @inline(__always)
  func allocatingDMA(
    _ size: Int, _ fit: Fit, _ call: () throws(PoolError) -> DMAAllocation
  ) throws(PoolError) -> DMAAllocation {
    if !isRecorded { return try call() }
    return try allocating(size, fit, { ($0.start, $0.owner) }, call)
  }

  /// Allocates, and writes down where: by the fit if it has a name, else as the place that it is.
  @inline(never)
  private func allocating<Made>(
    _ size: Int, _ fit: Fit?, _ place: (Made) -> (VirtualAddress, Owner?),
    _ call: () throws(PoolError) -> Made
  ) throws(PoolError) -> Made {
    guard let recording else { return try call() }
    return try recording.record { log throws(PoolError) in
      let request = hex(UInt64(UInt(bitPattern: size)))
      let token = (fit ?? .first).token
      do throws(PoolError) {
        let made = try call()
        let (start, owner) = place(made)
        writeAllocation(&log, request, token, start, owner)
        return made
      } catch {
        switch error {
        case .full, .fragmented, .noAlignedRun, .notFree, .emptyRequest:
          if let token { log.write("G \(log.nextID()) \(request) \(token) = 0 0") }
        default: log.write("# refused: \(error)")
        }
        throw error
      }
    }
  }

  private func writeAllocation(
    _ log: inout Recording.Log, _ request: String, _ token: String?, _ start: VirtualAddress,
    _ owner: Owner?
  ) {
    var token = token
    // The newest chunk is asked first: the place in another is no answer of a fixed offset.
    if token == nil, let newest = pool.chunks.first, start >= newest.start,
      start.rawValue - newest.start.rawValue < newest.size.rawValue
    {
      token = "fx:\(hex(start.rawValue - newest.start.rawValue))"
    }
    guard let token else {
      return log.end(by: "an own algorithm's or constraints' place in an older chunk")
    }
    log.write("G \(log.nextID()) \(request) \(token) = \(hex(start.rawValue)) \(hex(owner))")
  }

  /// Frees in a pool that is recorded.
  @inline(never) @discardableResult
  func freeing(_ start: VirtualAddress, _ size: ByteCount) throws(PoolError) -> Owner? {
    guard let recording else { return try pool.free(start, size: size) }
    return try recording.record { log throws(PoolError) in
      do throws(PoolError) {
        let owner = try pool.free(start, size: size)
        log.write("R \(hex(start.rawValue)) \(hex(size.rawValue)) = \(hex(owner))")
        return owner
      } catch {
        log.write("# refused: \(error)")
        throw error
      }
    }
  }

  /// Allocates a batch, and writes it down if the pool is recorded: as the single calls whose
  /// places it has.
  @unsafe @inline(never)
  func allocateBatch(
    count: Int, of size: ByteCount, fit: Fit?, into addresses: UnsafeMutablePointer<UInt>
  ) throws(PoolError) {
    guard let recording else {
      return try unsafe pool.allocate(count: count, of: size, fit: fit, into: addresses)
    }
    try recording.record { log throws(PoolError) in
      try unsafe pool.allocate(count: count, of: size, fit: fit, into: addresses)
      for index in 0..<count {
        let start = unsafe VirtualAddress(UInt64(addresses[index]))
        writeAllocation(&log, hex(size.rawValue), (fit ?? .first).token, start, owner(at: start))
      }
    }
  }

  /// Frees a batch, and writes it down if the pool is recorded.
  @unsafe @inline(never)
  func freeBatch(
    count: Int, of size: ByteCount, at addresses: UnsafePointer<UInt>
  ) throws(PoolError) {
    guard let recording else {
      return try unsafe pool.free(count: count, of: size, at: addresses)
    }
    try recording.record { log throws(PoolError) in
      try unsafe pool.free(count: count, of: size, at: addresses)
      for index in 0..<count {
        let start = unsafe VirtualAddress(UInt64(addresses[index]))
        log.write("R \(hex(start.rawValue)) \(hex(size.rawValue)) = \(hex(owner(at: start)))")
      }
    }
  }

  /// The owner of the chunk that has an address.
  private func owner(at address: VirtualAddress) -> Owner? {
    pool.chunks.first {
      address >= $0.start && address.rawValue - $0.start.rawValue < $0.size.rawValue
    }?.owner
  }
}

private func hex(_ value: UInt64) -> String { String(value, radix: 16) }

private func hex(_ owner: Owner?) -> String { hex(UInt64(owner?.rawValue ?? 0)) }

@c @implementation
public func genpool_record(
  _ pool: UnsafeMutablePointer<gen_pool>, _ path: UnsafePointer<CChar>
) -> CInt {
  let handle = unsafe PoolHandle(pool)
  let path = unsafe String(cString: path)
  guard !handle.isRecorded else {
    ErrorText.set("record to \(path): the pool is recorded")
    return -EALREADY
  }
  guard unsafe !handle.hidden.pointee.had_cache, !handle.pool.chunks.contains(where: \.isDraining)
  else {
    ErrorText.set(
      "record to \(path): the pool had a cache or has a drained chunk, which no record has")
    return -EOPNOTSUPP
  }
  do throws(SystemError) {
    let recording = try Recording(of: handle.pool, at: path)
    unsafe handle.hidden.pointee.recording = Unmanaged.passRetained(recording).toOpaque()
    return 0
  } catch {
    ErrorText.set(error)
    return -error.errno.rawValue
  }
}

@c @implementation
public func genpool_record_end(_ pool: UnsafeMutablePointer<gen_pool>) -> CInt {
  guard let recording = unsafe PoolHandle(pool).endRecording() else {
    ErrorText.set("end a record: the pool is not recorded by this process")
    return -ENOENT
  }
  return recording.end()
}
