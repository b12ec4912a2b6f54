import Glibc
import LinuxSystem
import SystemPackage
import Testing

/// Pipes, which can be polled as sysfs's files can.
@Suite struct DescriptionWitnessTests {
  /// An open file description of its own.
  private func description() throws -> Descriptor {
    var ends: [CInt] = [-1, -1]
    try #require(unsafe pipe(&ends) == 0)
    close(ends[1])
    return Descriptor(owning: ends[0])
  }

  @Test func `a description is there until its last descriptor is closed`() throws {
    let witness = DescriptionWitness()
    let duplicate: Descriptor
    do {
      let issued = try description()
      try witness.watch(issued, key: 7)
      duplicate = try issued.duplicate()
    }
    #expect(try witness.holds(key: 7), "a duplicate is left")
    #expect(try !witness.holds(key: 8))
    _ = consume duplicate
    #expect(try !witness.holds(key: 7))
  }

  @Test func `a descriptor in flight counts, in a socket in flight too`() throws {
    let witness = DescriptionWitness()
    var outer: Pair? = try Pair()
    do {
      let inner = try Pair()
      do {
        let issued = try description()
        try witness.watch(issued, key: 1)
        _ = try inner.first.send([0], descriptors: [issued.rawValue])
      }
      #expect(try witness.holds(key: 1))
      _ = try outer?.first.send([0], descriptors: [inner.second.rawValue])
    }
    #expect(try witness.holds(key: 1))
    outer = nil
    // The kernel collects what only messages refer to when it gets to it.
    for _ in 0..<500 where try witness.holds(key: 1) { usleep(10_000) }
    #expect(try !witness.holds(key: 1))
  }

  @Test func `keys of more than one set are told apart, and their room is used again`() throws {
    let witness = DescriptionWitness()
    var held: [UInt64: [Kept]] = [:]
    for round in 0..<3 as Range<UInt64> {
      for key in 0..<100 as Range<UInt64> where held[key] == nil {
        // Two descriptions of some, as of a lease that was opened again.
        held[key] = try (0...key % 2).map { _ in Kept(try description()) }
        for kept in held[key] ?? [] { try witness.watch(kept.descriptor, key: key) }
      }
      for key in 0..<100 as Range<UInt64> where key % 3 == round { held[key]?.removeLast() }
      for key in 0..<100 as Range<UInt64> {
        #expect(try witness.holds(key: key) == (held[key]?.isEmpty == false), "\(round): \(key)")
      }
      for key in 0..<100 as Range<UInt64> where held[key]?.isEmpty == true {
        witness.forget(key: key)
        held[key] = nil
      }
    }
  }

  @Test func `one of 65,536 keys is answered for at the cost of sixteen`() throws {
    let witness = DescriptionWitness()
    // A description can be watched by many sets, in each once.
    let kept = try (0..<16).map { _ in Kept(try description()) }
    let keys = (0..<65_536 as Range<UInt64>).filter { $0 < Self.mostKeys }
    for key in keys { try witness.watch(kept[Int(key % 16)].descriptor, key: key) }
    let clock = ContinuousClock()
    let questions = 1000
    var held = 0
    let time = try clock.measure {
      for index in 0..<questions where try witness.holds(key: keys[index * 61 % keys.count]) {
        held += 1
      }
    }
    #expect(held == questions)
    // 50 us an answer is the aim; ten times that tells O(keys) from a busy machine.
    #expect(time / questions < .microseconds(500), "\(time / questions) an answer")
  }

  /// The keys for which the process may have sets, with room for its other descriptors.
  private static var mostKeys: UInt64 {
    raiseDescriptorLimit(to: 8192)
    var limit = rlimit()
    _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return UInt64(max(16, limit.rlim_cur / 2)) * 16
  }

  @Test func `what cannot be polled is not watched`() throws {
    let file = unsafe open("/proc/self/exe", O_RDONLY | O_CLOEXEC)
    let regular = Descriptor(owning: file)
    #expect(throws: Errno.notPermitted) { try DescriptionWitness().watch(regular, key: 1) }
    let canWatchRegular = try DescriptionWitness.canWatch(regular)
    #expect(!canWatchRegular)
    let pollable = try description()
    let canWatch = try DescriptionWitness.canWatch(pollable)
    #expect(canWatch)
  }

  private final class Kept {
    let descriptor: Descriptor

    init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }
  }

  /// Two sockets that are connected.
  private final class Pair {
    let first: StreamSocket, second: StreamSocket

    init() throws {
      var ends: [CInt] = [-1, -1]
      let type = CInt(SOCK_STREAM.rawValue)
      try #require(unsafe socketpair(AF_UNIX, type, 0, &ends) == 0)
      first = StreamSocket(Descriptor(owning: ends[0]))
      second = StreamSocket(Descriptor(owning: ends[1]))
    }
  }
}
