import BrokerProtocol
import Foundation
import GenPool
import GenPoolClient
import TestSupport
import Testing

/// `genpoolctl lease`, against a running genpoold.
@Suite(.serialized) struct LeaseCommandTests {
  @Test func `a lease is filled, printed, dumped and given back`() throws {
    let machine = try PoolMachine()
    let result = try machine.control(
      "lease", "acquire", "--size", "8000", "--fill", "0x5a", "--dump")
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.errors.isEmpty)
    #expect(result.fitsTerminal)
    #expect(result.output.contains("size        8 KiB\n"))
    #expect(result.output.contains("isolation   uid-exclusive\n"))
    #expect(
      result.output.hasSuffix(
        """
        00000000  5a 5a 5a 5a 5a 5a 5a 5a  5a 5a 5a 5a 5a 5a 5a 5a  |ZZZZZZZZZZZZZZZZ|
        *
        00002000

        """))
    try machine.waitUntilClean()
    let clean = try machine.control("lease", "acquire", "--size", "16M", "--dump=1M")
    #expect(clean.output.contains("\n*\n00100000\n") && clean.output.contains("  00 00 00 00"))
  }

  @Test func `a file goes in and comes out, and the device sees it at the lease's address`() throws
  {
    let machine = try PoolMachine()
    let pattern = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 7) }
    let (input, output) = ("\(machine.machine.directory)/in", "\(machine.machine.directory)/out")
    try Data(pattern).write(to: URL(fileURLWithPath: input))
    _ = try HeldLease(machine, "--size", "12K").lease
    let held = try HeldLease(
      machine, "--size", "200000", "--align", "64K", "--fill-from", input, "--dump-to", output)
    let read = try Data(contentsOf: URL(fileURLWithPath: output))
    #expect(Array(read.prefix(pattern.count)) == pattern)
    #expect(read.count == 200_704 && read.suffix(704).allSatisfy { $0 == 0 })
    #expect(try machine.bytes(of: held.lease, count: pattern.count) == pattern)
    let pool = try machine.pool()
    let physical = try #require(held.lease.physical)
    #expect(physical == pool.physical?.advanced(by: held.lease.offset))
    #expect(held.lease.bus == pool.bus?.advanced(by: held.lease.offset))
    #expect(held.lease.bus?.rawValue == physical.rawValue + 0x4000_0000)
  }

  @Test func `standard input goes in too`() throws {
    let machine = try PoolMachine()
    let result = try machine.shell(
      "printf 'hello, device' | genpoolctl lease acquire --size 4K --fill-from - --dump=16")
    #expect(result.output.contains("|hello, device...|"))
  }

  @Test(arguments: [ByteCount.kibibytes(4), .kibibytes(64), .mebibytes(2)])
  func `the alignment asked for is that of the physical and the bus address`(
    alignment: ByteCount
  ) throws {
    let machine = try PoolMachine()
    // So that the next free page is aligned to nothing.
    let first = try HeldLease(machine, "--size", "4K")
    let held = try HeldLease(
      machine, "--size", "\(alignment)", "--align", "\(alignment.rawValue)")
    #expect(held.lease.physical?.isAligned(to: alignment) == true)
    #expect(held.lease.bus?.isAligned(to: alignment) == true)
    #expect(held.lease.physical != first.lease.physical)
  }

  @Test func `the JSON of a lease has its facts, sorted`() throws {
    let machine = try PoolMachine()
    let result = try machine.control("lease", "acquire", "--size", "4K", "--fill", "1", "--json")
    #expect(
      result.keys == [
        "bus", "caching", "generation", "isolation", "lease", "mapOffset", "offset", "physical",
        "pid", "pool", "size", "state", "uid",
      ])
    let lease = try result.document(Broker1.Lease.self)
    #expect(lease.pool == "cmb" && lease.size == 4096 && lease.caching == "cached")
    #expect(lease.isolation == "uid-exclusive" && lease.uid.rawValue == getuid())
    #expect(result.output.contains("\"size\" : 4096,"))
    #expect(result.output.contains(/"physical" : "0x[0-9a-f]{16}",/))
  }

  @Test func `a lease's label is printed and listed, and one that can be none is a mistake`() throws
  {
    let machine = try PoolMachine()
    let result = try machine.shell(
      """
      genpoolctl lease acquire --size 64K --label 'slurm job 12' -- sh -c '
        genpoolctl lease list; genpoolctl lease list --json'
      """)
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.errors.contains("label       slurm job 12\n"))
    #expect(result.output.contains("  LABEL\n") && result.output.contains("  slurm job 12\n"))
    #expect(result.output.contains("\"label\" : \"slurm job 12\""))
    let refused = try machine.control("lease", "acquire", "--size", "4K", "--label", "a\tb")
    #expect(refused.status == 64 && refused.errors.contains("1 to 64 printable ASCII characters"))
  }

  @Test func `a command writes through the descriptor that it inherits`() throws {
    let machine = try PoolMachine()
    let result = try machine.shell(
      """
      genpoolctl lease acquire --size 64K --align 64K -- sh -c '
        set -e
        printf "written by a command" | dd of=/proc/self/fd/$GENPOOL_LEASE_FD bs=1 \
          seek=$GENPOOL_LEASE_OFFSET conv=notrunc 2>/dev/null
        echo pid=$$
        echo size=$GENPOOL_LEASE_SIZE physical=$GENPOOL_LEASE_PHYSICAL bus=$GENPOOL_LEASE_BUS
        echo id=$GENPOOL_LEASE_ID generation=$GENPOOL_LEASE_GENERATION
        dd if="$BAR" bs=1 skip=$GENPOOL_LEASE_OFFSET count=20 2>/dev/null; echo
        genpoolctl lease list --json
        exit 7'
      """)
    #expect(result.status == 7)
    #expect(result.output.contains("\nwritten by a command\n"))
    let brace = try #require(result.output.firstIndex(of: "{"))
    let leases = try JSONDecoder().decode(
      Broker1.ListLeases.Reply.self, from: Data(result.output[brace...].utf8)
    ).leases
    let lease = try #require(leases.first)
    #expect(leases.count == 1 && lease.state == .leased)
    // In its place: the process that leased it is the command.
    #expect(result.output.hasPrefix("pid=\(lease.pid)\n"))
    let (physical, bus) = (try #require(lease.physical), try #require(lease.bus))
    #expect(result.output.contains("\nsize=65536 physical=\(physical) bus=\(bus)\n"))
    #expect(result.output.contains("\nid=\(lease.lease) generation=\(lease.generation)\n"))
    #expect(result.errors.contains("physical    \(physical)\n"), "the lease is printed there")
    try machine.waitUntilClean()
    #expect(try machine.bytes(of: lease, count: 20) == [UInt8](repeating: 0, count: 20))
  }

  @Test(
    .enabled(
      if: FileManager.default.isExecutableFile(atPath: "/usr/bin/python3"), "python3 is missing"))
  func `a command maps the descriptor`() throws {
    let machine = try PoolMachine()
    let result = try machine.control(
      "lease", "acquire", "--size", "64K", "--fill", "7", "--", "/usr/bin/python3", "-c",
      """
      import mmap, os
      lease = {n: int(os.environ["GENPOOL_LEASE_" + n], 0) for n in ("FD", "OFFSET", "SIZE")}
      memory = mmap.mmap(lease["FD"], lease["SIZE"], offset=lease["OFFSET"])
      print(memory[0], memory[lease["SIZE"] - 1])
      memory[5] = 99
      print(os.pread(lease["FD"], 7, lease["OFFSET"]).hex())
      """)
    #expect(result.output == "7 7\n07070707076307\n", "\(result.errors)")
  }

  @Test func `a command that cannot be run ends with 127 or 126, and the lease with it`() throws {
    let machine = try PoolMachine()
    let missing = try machine.control("lease", "acquire", "--size", "4K", "--", "no-such-program")
    #expect(missing.status == 127)
    #expect(missing.errors.contains("run no-such-program: No such file or directory"))
    let directory = try machine.control("lease", "acquire", "--size", "4K", "--", "/tmp")
    #expect(directory.status == 126)
    try machine.waitUntilClean()
  }

  @Test func `failures have their exit status, say what is wrong, and hold nothing`() throws {
    let machine = try PoolMachine()
    let cases: [(arguments: [String], status: Int32, cause: String)] = [
      (["--size", "64M"], 1, "lease 64 MiB of pool cmb: it has 16 MiB in all"),
      (["--size", "4K", "--pool", "attic"], 1, "no pool attic"),
      (["--size", "4K", "--align", "16G"], 1, "no multiple of that with room"),
      (
        ["--size", "4K", "--fit", "fixed", "--offset", "1G"], 1,
        "lease 4 KiB at offset 0x40000000 of pool cmb: it has 16 MiB in all, in granules of 4 KiB"
      ),
      (["--size", "4K", "--fit", "fixed", "--offset", "100"], 64, "no multiple of a granule"),
      (["--size", "4K", "--fill-from", "/nonexistent"], 1, "open /nonexistent"),
      (["--size", "4K", "--fill-from", "/proc/self/exe"], 1, "longer than the lease of 4 KiB"),
      (["--size", "4K", "--fill-from", "/dev/zero"], 1, "longer than the lease of 4 KiB"),
      (["--size", "4K", "--dump-to", "/nonexistent/out"], 1, "create /nonexistent/out"),
      (["--size", "4K", "--fill", "1", "--dump-to", "/dev/full"], 1, "write /dev/full"),
      (["--size", "0"], 64, "--size"), (["--size", "much"], 64, "much"), ([], 64, "--size"),
      (["--size", "64X"], 64, "write 65536"),
      (["--size", "4K", "--align", "3000"], 64, "--align"),
      (["--size", "4K", "--align", "4K", "--fit", "best"], 64, "--align"),
      (["--size", "4K", "--fit", "worst"], 64, "worst"),
      (["--size", "4K", "--offset", "0"], 64, "--offset"),
      (["--size", "4K", "--fit", "fixed"], 64, "--offset"),
      (["--size", "4K", "--fill", "256"], 64, "256"),
      (["--size", "4K", "--fill", "1", "--fill-from", "x"], 64, "--fill"),
      (["--size", "4K", "--json", "--dump"], 64, "--dump-to"),
      (["--size", "4K", "--hold", "--", "true"], 64, "--hold"),
      (["--size", "4K", "true"], 64, "true"),
    ]
    for (arguments, status, cause) in cases {
      let result = try machine.control(["lease", "acquire"] + arguments)
      #expect(result.status == status, "\(arguments): \(result.errors)")
      #expect(result.errors.contains(cause), "\(arguments): \(result.errors)")
    }
    try machine.waitUntilClean()
  }

  @Test func `memory that is there, but in pieces, is told from memory that is not`() throws {
    let machine = try PoolMachine()
    let held = try HeldLease(machine, "--size", "1M", "--fit", "fixed", "--offset", "8M")
    let result = try machine.control("lease", "acquire", "--size", "9M", "--dump=1")
    #expect(result.status == 75)
    #expect(result.errors.contains("15 MiB free, but at most 8 MiB in one piece"))
    let cases: [(arguments: [String], cause: String)] = [
      (
        ["--size", "9M", "--align", "16M"],
        "15 MiB free, but no 9 MiB at a multiple of 16 MiB: the longest piece from such a place is 8 MiB"
      ),
      (
        ["--size", "9M", "--fit", "order-aligned"],
        "15 MiB free, but no 9 MiB at a multiple of 16 MiB: the longest piece from such a place is 8 MiB"
      ),
      (
        ["--size", "4K", "--fit", "fixed", "--offset", "8M"],
        "15 MiB free, but not 4 KiB at offset 0x800000"
      ),
    ]
    for (arguments, cause) in cases {
      let result = try machine.control(["lease", "acquire", "--dump=1"] + arguments)
      #expect(result.status == 75)
      #expect(result.errors.contains(cause), "\(arguments): \(result.errors)")
    }
    let rest = try HeldLease(machine, "--size", "8M")
    let last = try HeldLease(machine, "--size", "7M")
    let none = try machine.control("lease", "acquire", "--size", "4K", "--dump=1")
    #expect(none.status == 75)
    #expect(none.errors.contains("lease 4 KiB of pool cmb: nothing is free"), "\(none.errors)")
    _ = (held, rest, last)
  }

  @Test func `a holder that is killed loses its lease, and its bytes are wiped`() throws {
    let machine = try PoolMachine()
    let held = try HeldLease(machine, "--size", "2M", "--fill", "0xff")
    #expect(try machine.bytes(of: held.lease, count: 4) == [255, 255, 255, 255])
    #expect(try machine.leases().map(\.lease) == [held.lease.lease])
    held.end(SIGKILL)
    try machine.waitUntilClean()
    #expect(try machine.leases().isEmpty)
    let bytes = try machine.bytes(of: held.lease, count: 2 << 20)
    #expect(bytes.count == 2 << 20 && bytes.allSatisfy { $0 == 0 })
  }

  @Test(arguments: [SIGINT, SIGTERM, SIGHUP])
  func `a signal ends a held lease in the ordinary way`(signal: Int32) throws {
    let machine = try PoolMachine()
    let held = try HeldLease(machine, "--size", "4K")
    let end = held.end(signal)
    #expect(end.status == 0, "\(end.errors)")
    #expect(end.errors.isEmpty)
    #expect(try machine.leases().allSatisfy { $0.state == .quarantine })
  }

  @Test func `a holder hears that its daemon has gone`() throws {
    let machine = try PoolMachine()
    let held = try HeldLease(machine, "--size", "4K")
    _ = machine.daemon.end(SIGKILL)
    let end = held.wait()
    #expect(end.status == 69)
    #expect(end.errors.contains("has gone, and the lease with it"))
  }

  @Test func `leases are listed with who has them`() throws {
    let machine = try PoolMachine()
    #expect(try machine.control("lease", "list").output == "There are no leases.\n")
    let first = try HeldLease(machine, "--size", "4K")
    let second = try HeldLease(machine, "--size", "2M", "--align", "2M")
    let table = try machine.control("lease", "list", "--pool", "cmb")
    let lines = table.output.split(separator: "\n")
    #expect(lines.count == 3)
    #expect(lines[0].hasPrefix("LEASE     POOL    OFFSET   SIZE  UID"))
    #expect(lines[1].hasPrefix(first.lease.lease.rawValue.prefix(8)))
    #expect(lines[2].contains("0x200000  2 MiB"))
    #expect(lines[2].contains(" \(second.lease.pid)  leased"))
    #expect(table.fitsTerminal)
    #expect(try machine.control("lease", "list", "--pool", "attic").status == 1)
  }

  @Test func `a lease is taken back by the digits that the list shows`() throws {
    let machine = try PoolMachine()
    let held = try HeldLease(machine, "--size", "4K")
    let whole = held.lease.lease.rawValue
    for (digits, status, cause) in [
      ("abc", 64, "4 to 32 of its digits"), ("lease-one", 64, "digits"),
      (String(repeating: "0", count: 32), 1, "it has ended, or never was"),
      (whole.hasPrefix("ffff") ? "0000" : "ffff", 1, "it has ended, or never was"),
    ] as [(String, Int32, String)] {
      let result = try machine.control("lease", "release", digits)
      #expect(result.status == status && result.errors.contains(cause), "\(result.errors)")
    }
    let result = try machine.control("lease", "release", String(whole.prefix(8)))
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.output.hasPrefix("Lease \(whole) is revoked."))
    #expect(held.wait().errors.contains("was revoked: an admin took it back"))
  }

  @Test(
    .enabled(if: getuid() == 0, "only root can be two users"),
    .enabled(
      if: FileManager.default.isExecutableFile(atPath: "/usr/bin/setpriv"), "setpriv is missing"))
  func `one user at a time, since a descriptor reaches the whole BAR`() throws {
    let machine = try PoolMachine()
    try permit(0o755, on: machine.machine.directory)
    try permit(0o755, on: machine.machine.directory + "/run")
    try permit(0o666, on: machine.machine.socket)
    // Where another user can run it, whatever the rights of the build's directory are.
    let program = machine.machine.directory + "/genpoolctl"
    try FileManager.default.copyItem(atPath: Executable.genpoolctl, toPath: program)
    func asNobody(_ arguments: String...) throws -> Executable.Result {
      try Executable.run(
        "/usr/bin/setpriv",
        ["--reuid=65534", "--regid=65534", "--clear-groups", program] + arguments,
        environment: machine.machine.environment)
    }
    let held = try HeldLease(machine, "--size", "4K")
    let refused = try asNobody("lease", "acquire", "--size", "4K", "--fill", "1")
    #expect(refused.status == 75)
    #expect(refused.errors.contains("pool cmb is in use by uid 0"))
    #expect(refused.errors.contains("one user at a time"))
    #expect(try asNobody("lease", "list").output == "There are no leases.\n")
    let denied = try asNobody("pool", "detach", "cmb")
    #expect(denied.status == 1)
    // The socket's own mode and group, not what is usual: there may be no group for admins here.
    let isShared =
      try FileManager.default.attributesOfItem(atPath: machine.machine.adminSocket)[
        .posixPermissions] as? Int == 0o660
    #expect(
      denied.errors.contains("admin socket is for root " + (isShared ? "and the group" : "alone")))
    held.end(SIGTERM)
    try machine.waitUntilClean()

    // One that has given back what it was lent is in nobody's way.
    let connection = try Connection(to: BrokerSocket(path: machine.machine.socket))
    try connection.acquire(.kibibytes(4)).release()
    let next = try asNobody(
      "lease", "acquire", "--size", "4K", "--fill", "1", "--wait", "20", "--json")
    #expect(try next.document(Broker1.Lease.self).uid.rawValue == 65534)
    try machine.waitUntilClean()

    // A child outlives the process that was given the descriptor, and keeps that and nothing else:
    // Foundation takes a process for running while anybody has its descriptors.
    let parent = try machine.control(
      "lease", "acquire", "--size", "4K", "--", "/bin/bash", "-c",
      """
      (for n in {3..255}; do [ $n = $GENPOOL_LEASE_FD ] || eval "exec $n>&-"; done; exec sleep 600) \
        </dev/null >/dev/null 2>&1 & echo $!
      """)
    let child = try #require(pid_t(parent.output.trimmingCharacters(in: .whitespacesAndNewlines)))
    defer { kill(child, SIGKILL) }
    try machine.waitUntilClean()
    let strayed = try asNobody("lease", "acquire", "--size", "4K", "--fill", "1")
    #expect(strayed.status == 75)
    #expect(strayed.errors.contains("pool cmb is in use by uid 0: a process that was not lent it"))
    #expect(try machine.control("pool", "detach", "cmb").status == 75)
    #expect(try machine.control("lease", "acquire", "--size", "4K", "--fill", "1").status == 0)
    kill(child, SIGKILL)
    let granted = try asNobody(
      "lease", "acquire", "--size", "4K", "--fill", "1", "--wait", "20", "--json")
    #expect(try granted.document(Broker1.Lease.self).uid.rawValue == 65534)
    try permit(0o600, on: machine.machine.socket)
    let locked = try asNobody("pool", "list")
    #expect(locked.status == 1)
    #expect(locked.errors.contains("permission denied (the socket is for root"))
  }
}

/// chmod(2).
private func permit(_ mode: Int, on path: String) throws {
  try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
}
