import BrokerProtocol
import Foundation
import Glibc
import TestSupport
import Testing

/// `genpoolctl lease holders`: the processes that reach a pool's memory.
@Suite(.serialized) struct HolderTests {
  private struct Document: Decodable {
    struct Holder: Decodable {
      let pool: String
      let pid: Int32
      let uid: UInt32
      let command: String
      let descriptor: Bool
      let mapping: Bool
      let certain: Bool
      let leases: Int
    }
    let pools: [String]
    let absentPools: [String]
    let unexamined: Int
    let complete: Bool
    let holders: [Holder]
  }

  /// A process that holds a file in one way, killed with this object.
  private final class Holder {
    private let process = Process()

    init(_ path: String, mapping: Bool, descriptor: Bool) throws {
      process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
      process.arguments = [
        "python3", "-c",
        """
        import mmap, os, sys
        file = os.open(sys.argv[1], os.O_RDWR)
        if sys.argv[2] == "true":
            # Python's mmap keeps a duplicate of the descriptor.
            import ctypes
            map = ctypes.CDLL(None).mmap
            map.restype = ctypes.c_void_p
            map.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
            assert map(None, 4096, 3, mmap.MAP_SHARED, file, 0) != ctypes.c_void_p(-1).value
        if sys.argv[3] != "true":
            os.close(file)
        print("ready", flush=True)
        sys.stdin.read()
        """, path, "\(mapping)", "\(descriptor)",
      ]
      let output = Pipe()
      process.standardInput = Pipe()
      process.standardOutput = output
      try process.start()
      try #require(!output.fileHandleForReading.availableData.isEmpty, "the file can be opened")
    }

    deinit { process.end(SIGKILL) }

    var pid: Int32 { process.processIdentifier }
    var isRunning: Bool { process.isRunning }
  }

  private static let isRoot = getuid() == 0

  @Test func `lessees and others are found by their descriptors and mappings`() throws {
    let pool = try PoolMachine()
    let none = try pool.control("lease", "holders")
    #expect(none.output == "No process was found that reaches memory of pool cmb.\n")
    #expect(none.status == (Self.isRoot ? 0 : 1))

    let lessee = try HeldLease(pool, "--size", "1M")
    let mapping = try Holder(pool.bar, mapping: true, descriptor: false)
    let descriptor = try Holder(pool.bar, mapping: false, descriptor: true)
    let both = try Holder(pool.bar + "_wc", mapping: true, descriptor: true)
    let found = try pool.control("lease", "holders", "cmb", "--json")
    #expect(found.status == (Self.isRoot ? 0 : 1))
    let document = try JSONDecoder().decode(Document.self, from: Data(found.output.utf8))
    #expect(found.keys == ["absentPools", "complete", "holders", "pools", "unexamined"])
    #expect(document.pools == ["cmb"] && document.absentPools.isEmpty)
    let holders = document.holders
    let pids = [lessee.lease.pid.rawValue, mapping.pid, descriptor.pid, both.pid]
    #expect(holders.map(\.pid) == pids.sorted(), "the daemon is left out")
    func holder(_ pid: Int32) throws -> Document.Holder {
      try #require(holders.first { $0.pid == pid })
    }
    #expect(try holder(pids[0]).leases == 1 && holder(pids[0]).command == "genpoolctl")
    #expect(try holder(pids[0]).mapping)
    #expect(try holder(pids[1]).mapping && !holder(pids[1]).descriptor)
    #expect(try !holder(pids[2]).mapping && holder(pids[2]).descriptor)
    #expect(try holder(pids[3]).mapping && holder(pids[3]).descriptor)
    #expect(
      holders.allSatisfy { $0.pool == "cmb" && $0.uid == getuid() && $0.certain })
    #expect(holders.map(\.leases).reduce(0, +) == 1)

    let table = try pool.control("lease", "holders")
    #expect(table.fitsTerminal && table.output.hasPrefix("POOL"))
    #expect(table.output.split(separator: "\n").count == 5)
  }

  @Test func `a pool that is not there, or whose BAR is not, is an error`() throws {
    let pool = try PoolMachine()
    let unknown = try pool.control("lease", "holders", "none")
    #expect(unknown.status == 1 && unknown.errors.contains("none"))
    let elsewhere = try EmulatedMachine("nvme,address=0000:09:00.0,cmb=1M")
    let absent = try Executable.run(
      Executable.genpoolctl, ["lease", "holders"],
      environment: [
        "GENPOOL_SYSFS_ROOT": elsewhere.directory, "GENPOOL_SOCKET": pool.machine.socket,
      ])
    #expect(absent.status == 1 && absent.errors.contains("find the memory of cmb"))
  }

  @Test(.enabled(if: getuid() == 0, "only root can be another user"))
  func `without root the processes of others are not seen`() throws {
    let pool = try PoolMachine()
    let other = try Holder(pool.bar, mapping: true, descriptor: true)
    _ = unsafe chmod(pool.machine.socket, 0o666)
    let found = try Executable.run(
      "/usr/bin/env",
      ["setpriv", "--reuid=1001", "--clear-groups", Executable.genpoolctl, "lease", "holders"],
      environment: pool.machine.environment)
    #expect(found.status == 1 && found.errors.contains("processes of other users"))
    #expect(found.output.hasPrefix("No process was found"))
    #expect(other.isRunning)
  }
}
