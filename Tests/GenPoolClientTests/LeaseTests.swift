import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import SystemPackage
import Testing

@testable import GenPoolClient

@Suite struct LeaseTests {
  private let memory: FakeMemory

  init() throws {
    memory = try FakeMemory(size: 2 << 20)
  }

  /// A broker that grants `lease` once, with these descriptors, and listens on.
  private func broker(
    granting lease: Broker1.Lease, descriptor: Int = 0, descriptors: [CInt]? = nil
  ) throws -> FakeBroker {
    let descriptors = descriptors ?? [memory.descriptor]
    return try FakeBroker { session in
      try session.answer(
        Broker1.Acquire.Reply(lease: lease, descriptor: descriptor), descriptors: descriptors)
      while let call = try session.nextCall() {
        let release = try call.parameters(as: Broker1.Release.Parameters.self)
        guard release == .init(lease: lease.lease, generation: lease.generation) else {
          throw BrokerError.noSuchLease(lease: release.lease)
        }
        if !call.oneway { try session.send(Reply.frame(EmptyReply())) }
      }
    }
  }

  @Test func `what is written to a lease is in the memory that was lent, and nowhere else`() throws
  {
    let broker = try broker(granting: .honest())
    do {
      let lease = try broker.connect().acquire(.kibibytes(64), from: "cmb")
      #expect(lease.size == .kibibytes(64))
      #expect(lease.physical == PhysicalAddress(0x80_0010_0000))
      #expect(lease.bus == BusAddress(0x90_0010_0000))
      #expect(lease.generation == Generation(rawValue: 7))
      try lease.region.write([1, 2, 3], at: .zero)
      try lease.region.write([4], at: .kibibytes(64) - 1)
      #expect(memory.bytes(at: 1 << 20, count: 4) == [1, 2, 3, 0])
      #expect(memory.bytes(at: (1 << 20) + 0xffff, count: 2) == [4, 0])
      #expect(memory.bytes(at: (1 << 20) - 1, count: 1) == [0])
      try lease.region.zero(at: .zero, count: lease.size)
      try lease.region.verifyZero(at: .zero, count: lease.size)
      #expect(throws: DeviceFault.self) { try lease.region.write([5], at: .kibibytes(64)) }
    }
    #expect(try broker.calls() == ["Acquire", "Release!"])
  }

  @Test func `virtual and physical address agree up to the size's largest power of two`() throws {
    let broker = try broker(
      granting: .honest(size: .kibibytes(192)).with { $0.physical = PhysicalAddress(0x123_0000) })
    let lease = try broker.connect().acquire(.kibibytes(192))
    #expect(lease.region.mapping.start.rawValue % (128 << 10) == 0x123_0000 % (128 << 10))
  }

  @Test func `a lease is given back once, by release`() throws {
    let broker = try broker(granting: .honest())
    do {
      let connection = try broker.connect()
      let lease = try connection.acquire(.kibibytes(64))
      try lease.release()
    }
    #expect(try broker.calls() == ["Acquire", "Release"])
  }

  @Test func `a lease is unmapped before the broker hears of its end`() throws {
    let lease = Broker1.Lease.honest()
    let memory = memory
    let mapped = Locked(-1)
    let broker = try FakeBroker { session in
      try session.answer(
        Broker1.Acquire.Reply(lease: lease, descriptor: 0), descriptors: [memory.descriptor])
      _ = try session.nextCall()
      // The client waits for the answer meanwhile.
      mapped.add(1 + mappings(of: memory))
      try session.send(Reply.frame(EmptyReply()))
    }
    let connection = try broker.connect()
    let held = try connection.acquire(.kibibytes(64))
    #expect(mappings(of: memory) == 1)
    try held.release()
    #expect(mapped.value == 0)
  }

  @Test func `a release that the broker refuses is not repeated`() throws {
    let memory = memory
    let lease = Broker1.Lease.honest()
    let broker = try FakeBroker { session in
      try session.answer(
        Broker1.Acquire.Reply(lease: lease, descriptor: 0), descriptors: [memory.descriptor])
      try session.answer(error: BrokerError.noSuchLease(lease: lease.lease))
      try session.drain()
    }
    do {
      let connection = try broker.connect()
      let lease = try connection.acquire(.kibibytes(64))
      var error: ClientError?
      do { try lease.release() } catch let thrown { error = thrown }
      #expect(error?.errno.rawValue == ENOENT)
    }
    #expect(try broker.calls() == ["Acquire", "Release"])
  }

  @Test func `what is asked for is what the broker hears`() throws {
    let memory = memory
    let lease = Broker1.Lease.honest().with { $0.label = "slurm job 12" }
    let broker = try FakeBroker { session in
      let call = try session.nextCall()
      let asked = try call?.parameters(as: Broker1.Acquire.Parameters.self)
      guard
        asked
          == .init(
            pool: "cmb", bytes: 5, alignment: .kibibytes(64), fit: .first, label: "slurm job 12")
      else {
        throw BrokerError.noPool
      }
      try session.send(
        Reply.frame(Broker1.Acquire.Reply(lease: lease, descriptor: 0)),
        descriptors: [memory.descriptor])
      try session.drain()
    }
    do {
      let connection = try broker.connect()
      let lease = try connection.acquire(
        5, from: "cmb", alignment: .kibibytes(64), fit: .first, label: "slurm job 12")
      #expect(lease.grant.label == "slurm job 12")
      #expect(lease.size == .kibibytes(64))
    }
    #expect(try broker.calls() == ["Acquire", "Release!"])
  }

  @Test func `a lease without physical and bus address is a lease`() throws {
    let grant = Broker1.Lease.honest().with {
      $0.physical = nil
      $0.bus = nil
      $0.caching = "quantum"
      $0.isolation = "perfect"
    }
    let lease = try broker(granting: grant).connect().acquire(1)
    #expect(lease.physical == nil)
    #expect(lease.region.range.caching == .writeCombining)
    #expect(lease.region.range.isolation == .cooperative)
  }

  @Test(arguments: [-1, 1, 2, Int.max, Int.min])
  func `a lease whose descriptor is missing is refused and given back`(index: Int) throws {
    let broker = try broker(granting: .honest(), descriptor: index)
    try expectViolation(broker, "descriptor \(index) is the lease's, but 1 came")
  }

  @Test func `a lease without any descriptor is refused and given back`() throws {
    let broker = try broker(granting: .honest(), descriptors: [])
    try expectViolation(broker, "0 came")
  }

  @Test func `descriptors beside the lease's are closed`() throws {
    var ends: [CInt] = [-1, -1]
    try #require(unsafe pipe(&ends) == 0)
    let (reading, writing) = (ends[0], ends[1])
    defer { close(reading) }
    let broker = try broker(
      granting: .honest(), descriptor: 1, descriptors: [writing, memory.descriptor, writing])
    let lease = try broker.connect().acquire(1)
    close(writing)
    #expect(isAtEnd(reading))
    #expect(try lease.region.read(at: .zero, count: 1) == [0])
  }

  struct Lie: Sendable, CustomTestStringConvertible {
    let cause: String
    let change: @Sendable (inout Broker1.Lease) -> Void

    init(_ cause: String, _ change: @escaping @Sendable (inout Broker1.Lease) -> Void) {
      self.cause = cause
      self.change = change
    }

    var testDescription: String { cause }
  }

  @Test(arguments: [
    Lie("while 64 KiB were asked for") { $0.size = .kibibytes(60) },
    Lie("a lease of 0 B") { $0.size = .zero },
    Lie("are not whole pages") { $0.size = .kibibytes(64) + 1 },
    Lie("are not whole pages") { $0.mapOffset += 64 },
    Lie("the descriptor is 2 MiB long") { $0.mapOffset = .mebibytes(2) - .kibibytes(60) },
    Lie("the descriptor is 2 MiB long") { $0.size = .mebibytes(4) },
    Lie("the descriptor is 2 MiB long") { lease in
      lease.mapOffset = ByteCount(UInt64(Int64.max) & ~0xffff)
    },
    Lie("a lease of pool other") { $0.pool = "other" },
    Lie("a lease at offset 2 MiB") { $0.offset = .mebibytes(2) },
    Lie("is not aligned to 64 KiB") { $0.physical = PhysicalAddress(0x1000) },
    Lie("is not aligned to 64 KiB") { $0.bus = BusAddress(0x1000) },
    Lie("the end of all addresses") {
      $0.physical = PhysicalAddress(0xffff_ffff_ffff_0000 - 0)
      $0.size = .mebibytes(1)
    },
    Lie("the end of all addresses") {
      $0.bus = BusAddress(0xffff_ffff_ffff_0000)
      $0.size = .mebibytes(1)
    },
  ])
  func `a lease that is not what it says is refused and given back`(lie: Lie) throws {
    let broker = try broker(granting: .honest().with(lie.change))
    try expectViolation(broker, lie.cause)
  }

  @Test func `a lease without the label that was asked for is refused and given back`() throws {
    let broker = try broker(granting: .honest())
    do {
      let connection = try broker.connect()
      let error = #expect(throws: ClientError.self) {
        _ = try connection.acquire(.kibibytes(64), label: "slurm job 12")
      }
      guard case .violation(let violation) = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(violation.cause == "a lease with label none, while slurm job 12 was asked for")
    }
    #expect(try broker.calls() == ["Acquire", "Release!"])
  }

  @Test func `a lease that cannot be mapped is given back`() throws {
    let path = "/proc/self/fd/\(memory.descriptor)"
    let readOnly = unsafe open(path, O_RDONLY | O_CLOEXEC)
    try #require(readOnly >= 0)
    defer { close(readOnly) }
    let broker = try broker(granting: .honest(), descriptors: [readOnly])
    do {
      let error = failure(of: try broker.connect())
      #expect(error?.errno.rawValue == EACCES)
      #expect(error?.description.contains("map lease 0123456789abcdef") == true)
    }
    #expect(try broker.calls() == ["Acquire", "Release!"])
  }

  @Test func `a leased chunk is allocated from without asking the broker, and goes with its pool`()
    throws
  {
    let broker = try broker(granting: .honest())
    do {
      let pool = Pool(granule: try #require(GranuleSize(64)))
      let connection = try broker.connect()
      try pool.add(try connection.acquire(.kibibytes(64)))
      #expect(pool.size == .kibibytes(64))
      let first = try pool.allocateDMA(100, alignment: 4096, zeroed: true)
      let second = try pool.allocateDMA(100, alignment: 4096)
      #expect(first.physical == PhysicalAddress(0x80_0010_0000))
      #expect(second.physical == PhysicalAddress(0x80_0010_1000))
      #expect(second.bus == BusAddress(0x90_0010_1000))
      #expect(mappings(of: memory) == 1)
      try pool.free(first)
      try pool.free(second)
      try pool.destroy()
      #expect(mappings(of: memory) == 0)
    }
    #expect(try broker.calls() == ["Acquire", "Release!"])
  }

  @Test func `a forked child does not give its parent's lease back`() throws {
    let broker = try broker(granting: .honest())
    do {
      var held: Pool? = Pool(granule: .page)
      try held?.add(try broker.connect().acquire(.kibibytes(64)))
      let status = try inForkedChild {
        held = nil
        return 0
      }
      #expect(status == 0)
      #expect(held?.size == .kibibytes(64))
    }
    #expect(try broker.calls() == ["Acquire", "Release!"])
  }

  /// What an Acquire of 64 KiB at 1 MiB of pool cmb ends with.
  private func failure(of connection: Connection) -> ClientError? {
    do {
      let lease = try connection.acquire(
        .kibibytes(64), from: "cmb", alignment: .kibibytes(64), offset: .mebibytes(1))
      Issue.record("leased \(lease.grant)")
      return nil
    } catch {
      return error
    }
  }

  private func expectViolation(_ broker: FakeBroker, _ cause: String) throws {
    do {
      let error = failure(of: try broker.connect())
      guard case .violation(let violation) = error else {
        Issue.record("\(String(describing: error))")
        return
      }
      #expect(violation.cause.contains(cause), "\(violation)")
    }
    #expect(try broker.calls() == ["Acquire", "Release!"])
  }
}

/// How often `memory` is mapped in this process, by its inode.
private func mappings(of memory: FakeMemory) -> Int {
  var status = stat()
  guard unsafe fstat(memory.descriptor, &status) == 0 else { return -1 }
  guard let maps = try? lines(of: "/proc/self/maps") else { return -1 }
  // A library on another file system may have the same inode number. As makedev(3) has it.
  let device = UInt64(status.st_dev)
  let parts = [device >> 8 & 0xfff | device >> 32 & ~0xfff, device & 0xff | device >> 12 & ~0xff]
    .map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: ":")
  return maps.count {
    let fields = $0.split(separator: " ").dropFirst(3)
    return fields.first == parts[...] && fields.dropFirst().first == "\(status.st_ino)"
  }
}

private func lines(of path: String) throws -> [Substring] {
  let file = try FileDescriptor.open(FilePath(path), .readOnly)
  defer { try? file.close() }
  var bytes: [UInt8] = []
  while true {
    let piece = try unsafe [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
      count = try unsafe file.read(into: UnsafeMutableRawBufferPointer(buffer))
    }
    if piece.isEmpty { break }
    bytes += piece
  }
  return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
}
