import BrokerProtocol
import Foundation
import TestSupport
import Testing

/// genpoold with many devices: the time until it is ready grows with their number, not with its
/// square.
@Suite(.serialized) struct ManyPoolsTests {
  /// Several times the processor time that 250 pools take in a debug build, however much the rest of
  /// the machine computes: `make start-test` measures the time of a release build.
  private static let limit = 30.0

  /// A way to share IOMMU groups.
  enum Grouping: CaseIterable {
    /// Each opening looks at every member.
    case oneGroup
    case groupEach
  }

  @Test(arguments: Grouping.allCases)
  func `250 pools are there in time, and their devices are listed`(grouping: Grouping) throws {
    let directory = FileManager.default.temporaryDirectory.path() + "genpool-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: directory) }
    var (devices, pools): ([String], [String]) = ([], [])
    for number in 0..<250 {
      let address = String(
        format: "0000:%02x:%02x.%x", 1 + number / 256, number / 8 % 32, number % 8)
      let group = grouping == .oneGroup ? 1 : number + 1
      devices += ["--device", "nvme,cmb=64K,address=\(address),group=\(group)"]
      pools.append("{\"device\": \"\(address)\", \"bar\": 2, \"name\": \"pool\(number)\"}")
    }
    let made = try Executable.run(Executable.genpoolctl, ["emulate", directory] + devices)
    try #require(made.status == 0, "\(made.errors)")
    let machine = EmulatedMachine(at: directory)
    let file = directory + "/genpoold.json"
    try "{\"pools\": [\(pools.joined(separator: ","))]}".write(
      toFile: file, atomically: true, encoding: .utf8)
    let records = directory + "/records"
    try writeRecords(250, in: records)

    // Fewer lines: nothing reads the log's pipe meanwhile.
    let daemon = try RunningDaemon(
      machine,
      ["--config", file, "--runtime-directory", records, "--log-level", "warning"])
    try daemon.waitUntilReady(at: machine.socket)
    let listed = try machine.control("pool", "list", "--json")
      .document(Broker1.ListPools.Reply.self).pools
    #expect(listed.count == 250 && listed.allSatisfy { $0.state == .active })
    #expect(try machine.control("device", "list", "--json").status == 0)
    #expect(try processorTime(of: daemon.process.processIdentifier) < Self.limit)
    #expect(daemon.end() == 0)
  }

  /// The processor time of a process so far, in seconds: proc_pid_stat(5), utime and stime.
  private func processorTime(of process: Int32) throws -> Double {
    let text = try String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8)
    let fields = text.split(separator: ")").last?.split(separator: " ") ?? []
    try #require(fields.count > 12)
    let ticks = (Double(fields[11]) ?? .infinity) + (Double(fields[12]) ?? .infinity)
    return ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  /// Records of other memory that an earlier run lent: each attachment looks at all of them.
  private func writeRecords(_ count: Int, in directory: String) throws {
    try FileManager.default.createDirectory(
      atPath: directory, withIntermediateDirectories: true,
      attributes: [.posixPermissions: 0o700])
    let boot = try String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8)
      .trimmingCharacters(in: .whitespacesAndNewlines)
    for number in 1...count {
      try """
      {"label": "BAR 2 of another device", "reach": {"file": {"device": 1, "inode": \(number), "born": 1}
       }, "source": "sysfs", "users": [1001], "state": "held", "boot": "\(boot)"}
      """.write(
        toFile: "\(directory)/\(number).outstanding", atomically: false, encoding: .utf8)
    }
  }
}
