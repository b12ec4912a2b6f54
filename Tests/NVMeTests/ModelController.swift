import DeviceFixtures
import Dispatch
import GenPool
import Glibc
import Synchronization
import SystemPackage

/// A controller that lives behind the files of an emulated device: it polls its registers and doorbells in
/// BAR 0, and does what is asked of it in BAR 2, which is all the memory that it reaches. DMA to any other
/// address goes nowhere, and is reported as a success, as it is on many a machine.
final class ModelController: Sendable {
  /// How it behaves.
  enum Behaviour: Sendable {
    case normal
    /// It completes nothing.
    case silent
    /// I/O commands end with this status, in the form of ``CommandStatus``.
    case failing(UInt16)
    /// It completes commands that nobody gave.
    case confused
    /// It says that it has failed as soon as an I/O command comes.
    case fatal
    /// It identifies itself by these bytes, or by none, and reports a success.
    case identifying([UInt8]?)
    /// It takes that long to shut down.
    case slowToShutDown(Duration)
  }

  static let blockSize = 512
  static let blocks = 4096

  private let registers: FileDescriptor, memory: FileDescriptor
  private let busStart: UInt64
  private let behaviour: Behaviour
  private let isStopped = Atomic(false)
  private let finished = DispatchSemaphore(value: 0)
  /// What its blocks hold.
  let disk: Mutex<[UInt8]>

  /// Starts. The tree's first device has its buffer in BAR 2, whose first byte is at `busStart`.
  init(_ tree: TemporaryTree, busStart: BusAddress, _ behaviour: Behaviour = .normal) throws {
    registers = try .open(tree.path("resource0"), .readWrite)
    memory = try .open(tree.path("resource2"), .readWrite)
    self.busStart = busStart.rawValue
    self.behaviour = behaviour
    disk = Mutex((0..<(Self.blocks * Self.blockSize)).map { UInt8(truncatingIfNeeded: $0 / 7) })
    // A thread of its own: drivers under test block theirs.
    DispatchQueue.global().async { self.run() }
  }

  /// Stops, and waits until it has.
  func stop() {
    isStopped.store(true, ordering: .relaxed)
    finished.wait()
    try? registers.close()
    try? memory.close()
  }

  /// A queue of either kind.
  private struct Queue {
    var base: UInt64 = 0
    var entries = 0
    var position = 0
    var phase: UInt32 = 1
  }

  private func run() {
    var isReady = false
    var submissions: [Int: Queue] = [:], completions: [Int: Queue] = [:]
    var isShutDownAt: ContinuousClock.Instant?
    while !isStopped.load(ordering: .relaxed) {
      let configuration = register(0x14)
      let isEnabled = configuration & 1 == 1
      if isEnabled != isReady {
        isReady = isEnabled
        submissions = [:]
        completions = [:]
        if isEnabled {
          let sizes = register(0x24)
          submissions[0] = Queue(base: register64(0x28), entries: Int(sizes & 0xfff) + 1)
          completions[0] = Queue(base: register64(0x30), entries: Int(sizes >> 16) + 1)
          for doorbell in 0..<4 { setRegister(0x1000 + 4 * doorbell, 0) }
        }
        setRegister(0x1c, isEnabled ? 1 : 0)
      }
      if isEnabled && configuration >> 14 & 3 == 1 {
        var time = Duration.zero
        if case .slowToShutDown(let duration) = behaviour { time = duration }
        let end = isShutDownAt ?? .now + time
        isShutDownAt = end
        setRegister(0x1c, 1 | (end <= .now ? 2 : 1) << 2)
      }
      for number in submissions.keys.sorted() {
        while let queue = submissions[number],
          queue.position != Int(register(0x1000 + 8 * number)) % queue.entries
        {
          let command = read(queue.base + UInt64(64 * queue.position), 64)
          submissions[number]?.position = (queue.position + 1) % queue.entries
          if case .silent = behaviour, number > 0 { continue }
          let status = execute(command, on: number, &submissions, &completions)
          let head = submissions[number]?.position ?? 0
          complete(command, status, on: number, head, &completions)
        }
      }
      usleep(50)
    }
    finished.signal()
  }

  private func execute(
    _ command: [UInt8], on number: Int, _ submissions: inout [Int: Queue],
    _ completions: inout [Int: Queue]
  ) -> UInt16 {
    let word = { (index: Int) -> UInt32 in
      (0..<4).reduce(0) { $0 | UInt32(command[4 * index + $1]) << (8 * UInt32($1)) }
    }
    let address = { (index: Int) -> UInt64 in UInt64(word(index)) | UInt64(word(index + 1)) << 32 }
    let (queue, entries) = (Int(word(10) & 0xffff), Int(word(10) >> 16) + 1)
    switch (number, command[0]) {
    case (0, 0x06):
      if case .identifying(let bytes) = behaviour {
        write(bytes ?? [], to: address(6))
      } else {
        write(word(10) == 1 ? controllerData : namespaceData, to: address(6))
      }
    case (0, 0x05): completions[queue] = Queue(base: address(6), entries: entries)
    case (0, 0x01):
      guard completions[queue] != nil else { return 0x0100 }
      // A new queue is empty, wherever the doorbell of the last one stood.
      setRegister(0x1000 + 8 * queue, 0)
      submissions[queue] = Queue(base: address(6), entries: entries)
    case (0, 0x00): submissions[queue] = nil
    case (0, 0x04): completions[queue] = nil
    case (0, 0x09): if submissions.count > 1 { return 0x000c }
    case (1, 0x00): break
    case (1, 0x01), (1, 0x02):
      switch behaviour {
      case .failing(let status): return status
      case .fatal: setRegister(0x1c, 1 | 2)
      default: break
      }
      let (first, count) = (Int(word(10)), Int(word(12)) + 1)
      guard first + count <= Self.blocks else { return 0x4080 }
      let pages = pages(address(6), address(8), count * Self.blockSize)
      move(command[0] == 2, first * Self.blockSize, count * Self.blockSize, pages)
    default: return 0x4001
    }
    return 0
  }

  private func complete(
    _ command: [UInt8], _ status: UInt16, on number: Int, _ head: Int,
    _ completions: inout [Int: Queue]
  ) {
    if case .fatal = behaviour, number > 0 { return }
    guard let queue = completions[number] else { return }
    var identifier = UInt32(command[2]) | UInt32(command[3]) << 8
    if case .confused = behaviour, number > 0 { identifier ^= 0x100 }
    let last = UInt32(status) << 17 | queue.phase << 16 | identifier
    let words = [0, 0, UInt32(number) << 16 | UInt32(head), last]
    let bytes = words.flatMap { word in
      (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * UInt32($0))) }
    }
    let place = queue.base + UInt64(16 * queue.position)
    // The phase bit comes last.
    write(Array(bytes[..<12]), to: place)
    write(Array(bytes[12...]), to: place + 12)
    let isAround = queue.position + 1 == queue.entries
    completions[number]?.position = isAround ? 0 : queue.position + 1
    if isAround { completions[number]?.phase ^= 1 }
  }

  // MARK: Data

  private func pages(_ first: UInt64, _ second: UInt64, _ size: Int) -> [UInt64] {
    let count = (size + 4095) / 4096
    guard count > 2 else { return Array([first, second].prefix(count)) }
    let list = read(second, 8 * (count - 1))
    return [first]
      + (0..<(count - 1)).map { entry in
        (0..<8).reduce(0) { $0 | UInt64(list[8 * entry + $1]) << (8 * UInt64($1)) }
      }
  }

  private func move(_ isRead: Bool, _ start: Int, _ size: Int, _ pages: [UInt64]) {
    disk.withLock { disk in
      for (index, page) in pages.enumerated() {
        let range = (start + 4096 * index)..<(start + min(size, 4096 * (index + 1)))
        if isRead {
          write(Array(disk[range]), to: page)
        } else {
          disk.replaceSubrange(range, with: read(page, range.count))
        }
      }
    }
  }

  private var controllerData: [UInt8] {
    var bytes = [UInt8](repeating: 0x20, count: 4096)
    bytes.replaceSubrange(4..<9, with: Array("model".utf8))
    bytes[77] = 5  // MDTS: 128 KiB
    return bytes
  }

  private var namespaceData: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 4096)
    bytes[1] = UInt8(Self.blocks >> 8)
    bytes[130] = 9
    return bytes
  }

  // MARK: Memory

  private func read(_ address: UInt64, _ count: Int) -> [UInt8] {
    bytes(of: memory, Int64(bitPattern: address &- busStart), count)
  }

  private func write(_ bytes: [UInt8], to address: UInt64) {
    guard address >= busStart, address - busStart < 1 << 20 else { return }
    _ = try? memory.writeAll(toAbsoluteOffset: Int64(address - busStart), bytes)
  }

  private func register(_ offset: Int) -> UInt32 {
    let bytes = bytes(of: registers, Int64(offset), 4)
    return (0..<4).reduce(0) { $0 | UInt32(bytes[$1]) << (8 * UInt32($1)) }
  }

  private func register64(_ offset: Int) -> UInt64 {
    UInt64(register(offset)) | UInt64(register(offset + 4)) << 32
  }

  private func setRegister(_ offset: Int, _ value: UInt32) {
    let bytes = (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * UInt32($0))) }
    _ = try? registers.writeAll(toAbsoluteOffset: Int64(offset), bytes)
  }

  /// What is out of reach reads as all-ones.
  private func bytes(of file: FileDescriptor, _ offset: Int64, _ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xff, count: count)
    guard offset >= 0 else { return bytes }
    _ = unsafe bytes.withUnsafeMutableBytes { buffer in
      try? unsafe file.read(fromAbsoluteOffset: offset, into: buffer)
    }
    return bytes
  }
}
