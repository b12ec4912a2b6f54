import BrokerProtocol
import Foundation
import Glibc
import TestSupport
import Testing

/// Each way in which a process keeps memory beyond its lease, on emulated devices: the memory counts as
/// reached as long as anything is left, and another user is served when nothing is. Tests/Machine has the same
/// for sysfs and VFIO.
@Suite(.serialized) struct WitnessMatrixTests {
  /// A file system on which the kernel reports what is left.
  enum Place: String, CaseIterable {
    case temporary = ""
    case memory = "/dev/shm"
  }

  /// The time within which a user is served when nothing reaches the memory is a second. A busy machine has ten.
  private static let milliseconds = 10_000
  /// The time that a refused Acquire waits.
  private static let briefly = 100
  private static let isRoot = getuid() == 0
  /// The user that attacks, and the one that must be protected. Without root both are that of the tests.
  private static let first = isRoot ? 1001 : nil, second = isRoot ? 1002 : nil

  /// A daemon with the pool `cmb` of 1 MiB on an emulated device, to which all users may connect.
  private final class Cells {
    let machine: EmulatedMachine
    let daemon: RunningDaemon
    /// Whether the kernel reports what is left. Else all stays with the first user.
    let isSeen: Bool

    init(_ place: Place) throws {
      let kind = "nvme,cmb=1M,address=0000:01:00.0"
      machine =
        try place == .temporary
        ? EmulatedMachine(kind) : EmulatedMachine(kind, below: place.rawValue)
      daemon = try RunningDaemon(machine, ["--attach", "\(machine.device):2,name=cmb"])
      try daemon.waitUntilReady(at: machine.socket)
      _ = unsafe chmod(machine.socket, 0o666)
      isSeen = try machine.control("pool", "show", "cmb", "--json").output.contains("file-lease")
    }

    /// Cancels the test, which says so, where the file system does not tell.
    func requireWitness() throws {
      if !isSeen { try Test.cancel("the file system of \(machine.socket) has no file leases") }
    }

    func pool() throws -> Broker1.Pool {
      try machine.control("pool", "show", "cmb", "--json")
        .document(Broker1.DescribePool.Reply.self).pool
    }

    /// The first user's attacker, which leases a page and keeps it.
    func lease(_ arguments: [String], uid: Int? = first) throws -> Attacker {
      // Another cell's victim may be about to end.
      let attacker = try Attacker(arguments, at: machine.socket, uid: uid, wait: milliseconds)
      try #require(attacker.isGranted, "\(arguments): \(attacker.answer)")
      return attacker
    }

    /// The other user gets no memory, and the memory counts as reached.
    func expectDenied(_ cell: String, _ error: String = "PoolBusy") throws {
      if error == "PoolBusy" { #expect(try pool().reach == "reached", "\(cell)") }
      guard isRoot else { return }
      let victim = try Attacker(["hold"], at: machine.socket, uid: second, wait: briefly)
      #expect(
        victim.answer.hasPrefix("refused io.genpool.Broker1.\(error)"), "\(cell): \(victim.answer)")
    }

    /// The other user gets memory, and reads nothing of the first one's there.
    func expectServed(_ cell: String) throws {
      guard isRoot else {
        return try wait(for: "\(cell): the memory to be free") { try pool().reach == "free" }
      }
      let clock = ContinuousClock()
      let start = clock.now
      let victim = try Attacker(["hold"], at: machine.socket, uid: second, wait: milliseconds)
      #expect(victim.isGranted, "\(cell): \(victim.answer)")
      #expect(clock.now - start < .milliseconds(milliseconds), "\(cell)")
      guard victim.isGranted else { return }
      #expect(try victim.ask("find \(WitnessMatrixTests.secret)") == "absent", "\(cell)")
    }
  }

  private static let secret = "of the attacker"

  /// A cell in which the lessee dies and leaves a child that has something of the lease.
  private func keep(_ cells: Cells, _ cell: String, _ arguments: [String], isMapped: Bool) throws {
    let attacker: Attacker
    do {
      attacker = try cells.lease(["keep"] + arguments)
    } catch is Attacker.Impossible {
      return
    }
    if isMapped { #expect(try attacker.ask("flood \(Self.secret)") == "flooded", "\(cell)") }
    try wait(for: "\(cell): the lessee's end") { try cells.pool().leases == 0 }
    try cells.expectDenied(cell)
    attacker.end()
    try cells.expectServed(cell)
  }

  @Test(arguments: Place.allCases) func `what a dead lessee left keeps the memory`(
    place: Place
  ) throws {
    let cells = try Cells(place)
    try cells.requireWitness()
    try keep(cells, "the mapping", [], isMapped: true)
    for way in ["descriptor", "exec", "flight", "nested", "ring", "unread", "namespace", "reopen"] {
      try keep(cells, way, ["--way", way], isMapped: false)
    }
    #expect(cells.daemon.end() == 0)
  }

  @Test(arguments: Place.allCases)
  func `no lock that a lessee sets or removes lets another user in`(
    place: Place
  ) throws {
    let cells = try Cells(place)
    try cells.requireWitness()
    for game in ["ofd", "classic", "flock", "lease"] {
      try keep(cells, game, ["--game", game], isMapped: true)
    }
    #expect(cells.daemon.end() == 0)
  }

  @Test(arguments: Place.allCases)
  func `a lessee that lives keeps the memory, and its connection does not`(
    place: Place
  ) throws {
    let cells = try Cells(place)
    try cells.requireWitness()
    do {
      let attacker = try cells.lease(["hold"])
      try cells.expectDenied("a living lessee")
      attacker.end()
      try cells.expectServed("a living lessee")
    }
    do {
      let attacker = try cells.lease(["hold", "--release"])
      #expect(try attacker.ask("flood \(Self.secret)") == "flooded")
      try cells.expectDenied("a released lease")
      attacker.end()
      try cells.expectServed("a released lease")
    }
    let attacker = try cells.lease(["hold", "--release", "--descriptor"])
    try cells.expectDenied("a kept connection")
    #expect(try attacker.ask("drop") == "dropped")
    if Self.isRoot { try cells.expectServed("a kept connection") }
    attacker.end()
    try cells.expectServed("a connection that has ended")
    #expect(cells.daemon.end() == 0)
  }

  @Test(arguments: Place.allCases) func `a file that its owner opens anew is seen`(
    place: Place
  ) throws {
    let cells = try Cells(place)
    try cells.requireWitness()
    // The tree's owner may, and the whole file is asked about.
    let attacker = try cells.lease(["keep", "--way", "reopen"], uid: nil)
    #expect(attacker.hasReopened == true)
    try wait(for: "the lessee's end") { try cells.pool().leases == 0 }
    try cells.expectDenied("a file that was opened anew")
    attacker.end()
    try cells.expectServed("a file that was opened anew")
    #expect(cells.daemon.end() == 0)
  }

  @Test(arguments: Place.allCases) func `a lessee that truncates harms its own lease only`(
    place: Place
  ) throws {
    let cells = try Cells(place)
    try cells.requireWitness()
    let attacker = try cells.lease(["hold", "--game", "truncate"])
    try cells.expectDenied("a truncated file")
    #expect(try attacker.ask("read") == "fault", "as long as the broker has not noticed")
    let again = try cells.lease(["hold"])
    let leases = try cells.machine.control("lease", "list", "--json")
      .document(Broker1.ListLeases.Reply.self).leases
    #expect(leases.map(\.state).contains(.revoked) && leases.map(\.state).contains(.leased))
    #expect(try attacker.ask("read") == "", "zeroes")
    attacker.end()
    again.end()
    try cells.expectServed("a truncated file")
    try keep(cells, "a child of it", ["--game", "truncate"], isMapped: false)
    #expect(try cells.pool().state == .active)
    #expect(cells.daemon.end() == 0)
    let log = cells.daemon.readLog()
    #expect(log.contains("truncated the BAR's file to 0") && !log.contains("no answer"))
  }

  @Test(arguments: Place.allCases) func `a replugged device waits for the holder of the old one`(
    place: Place
  ) throws {
    let cells = try Cells(place)
    try cells.requireWitness()
    let machine = cells.machine
    let attacker = try cells.lease(["keep"])
    #expect(try attacker.ask("flood \(Self.secret)") == "flooded")
    #expect(
      try machine.control("emulate", "remove", machine.directory, machine.device).status == 0)
    try wait(for: "the revocation") { try cells.pool().state == .revoked }
    try cells.expectDenied("a removed device", "PoolRevoked")
    let added = try machine.control(
      "emulate", "add", machine.directory, "--device", "nvme,cmb=1M,address=\(machine.device)")
    #expect(added.status == 0)
    try cells.expectDenied("a replugged device", "PoolRevoked")
    #expect(try cells.pool().state == .revoked)
    attacker.end()
    try wait(for: "the pool") {
      try machine.control("pool", "show", "cmb", "--json").output.contains("\"active\"")
    }
    try cells.expectServed("a replugged device")
    #expect(cells.daemon.end() == 0)
  }

  @Test(.enabled(if: getuid() == 0, "only root can be another user, and mount"))
  func `where the kernel cannot tell, every row ends with an admin's detach`() throws {
    let overlay = try OverlayMachine()
    let specification = "0000:01:00.0:2,name=cmb"
    let daemon = try overlay.daemon(["--attach", specification])
    defer { daemon.end(SIGTERM) }
    func answer(_ uid: Int?) throws -> String {
      try Attacker(["hold"], at: overlay.socket, uid: uid, wait: Self.briefly).answer
    }
    let rows =
      ["descriptor", "exec", "flight", "nested", "ring", "unread", "namespace", "reopen"].map {
        ["keep", "--way", $0]
      } + ["ofd", "classic", "flock", "lease"].map { ["keep", "--game", $0] }
      + [["keep"], ["hold", "--release"]]
    for row in rows {
      let attacker: Attacker
      do {
        attacker = try Attacker(row, at: overlay.socket, uid: 1001, wait: Self.milliseconds)
      } catch is Attacker.Impossible {
        continue
      }
      #expect(attacker.isGranted, "\(row): \(attacker.answer)")
      #expect(try answer(1002).hasPrefix("refused io.genpool.Broker1.PoolBusy"), "\(row)")
      attacker.end()
      func isRefused() throws -> Bool {
        try answer(1002) == "refused io.genpool.Broker1.PoolBusy unseen"
      }
      try wait(for: "\(row): the refusal that says why") { try isRefused() }
      #expect(try overlay.control("pool", "detach", "cmb").status == 0, "\(row)")
      #expect(try overlay.control("pool", "attach", specification).status == 0, "\(row)")
      #expect(try answer(1002) == "granted", "\(row)")
      #expect(try overlay.control("pool", "detach", "cmb").status == 0, "\(row)")
      #expect(try overlay.control("pool", "attach", specification).status == 0, "\(row)")
    }
  }
}
