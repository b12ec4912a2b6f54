import BrokerProtocol
import Foundation
import GenPool
import TestSupport
import Testing

/// An emulated device whose BAR 2 is the pool `cmb` of a running genpoold.
final class PoolMachine {
  let machine: EmulatedMachine
  let daemon: RunningDaemon

  /// The bus addresses of the device's memory differ from the CPU's, as behind some host bridges.
  init(_ kind: String = "nvme,cmb=16M,bus-offset=0x40000000") throws {
    machine = try EmulatedMachine(kind)
    daemon = try RunningDaemon(machine, ["--attach", "\(machine.device):2,name=cmb"])
    try daemon.waitUntilReady(at: machine.socket)
    // Its memory is zeroed first, which takes a moment.
    try waitUntilClean()
  }

  deinit { _ = daemon.end() }

  /// Runs genpoolctl to its end.
  func control(_ arguments: String...) throws -> Executable.Result {
    try control(arguments)
  }

  func control(_ arguments: [String]) throws -> Executable.Result {
    try Executable.run(Executable.genpoolctl, arguments, environment: machine.environment)
  }

  /// Runs a shell's line with genpoolctl in its PATH and the BAR's file in `$BAR`.
  func shell(_ line: String) throws -> Executable.Result {
    try Executable.run(
      "/bin/sh", ["-c", line], environment: machine.environment.merging(shellVariables) { $1 })
  }

  private var shellVariables: [String: String] {
    ["PATH": Executable.searchPath, "BAR": bar]
  }

  /// The file of the BAR: the device's own view of its memory.
  var bar: String { "\(machine.directory)/bus/pci/devices/\(machine.device)/resource2" }

  /// The pool as `pool show` prints it.
  func pool() throws -> Broker1.Pool {
    try control("pool", "show", "cmb", "--json")
      .document(Broker1.DescribePool.Reply.self).pool
  }

  /// The leases as `lease list` prints them.
  func leases() throws -> [Broker1.Lease] {
    try control("lease", "list", "--json").document(Broker1.ListLeases.Reply.self).leases
  }

  /// What the device sees of a lease.
  func bytes(of lease: Broker1.Lease, count: Int) throws -> [UInt8] {
    let file = try #require(FileHandle(forReadingAtPath: bar))
    try file.seek(toOffset: lease.offset.rawValue)
    return Array(try file.read(upToCount: count) ?? Data())
  }

  /// All that is in a BAR's file.
  func bytes(ofBAR index: Int) throws -> Data {
    try Data(
      contentsOf: URL(
        fileURLWithPath: "\(machine.directory)/bus/pci/devices/\(machine.device)/resource\(index)"))
  }

  /// Waits until the pool has no lease, and all of it is clean.
  func waitUntilClean() throws {
    let deadline = ContinuousClock.now + .seconds(10)
    repeat {
      let pool = try pool()
      if pool.leases == 0, pool.available == pool.size { return }
      usleep(20_000)
    } while .now < deadline
    throw TimedOut(what: "the pool is not clean: \(try pool())")
  }
}

/// A `genpoolctl lease acquire --hold` in the background, killed at the latest with this object.
final class HeldLease {
  let lease: Broker1.Lease
  private let process = Process()
  private let errors = Pipe()

  init(_ pool: PoolMachine, _ arguments: String...) throws {
    process.executableURL = URL(fileURLWithPath: Executable.genpoolctl)
    process.arguments = ["lease", "acquire", "--json", "--hold"] + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(pool.machine.environment) {
      $1
    }
    let output = Pipe()
    process.standardOutput = output
    process.standardError = errors
    process.standardInput = FileHandle.nullDevice
    try process.start()
    var document = Data()
    while !document.suffix(3).elementsEqual("\n}\n".utf8) {
      let piece = output.fileHandleForReading.availableData
      try #require(!piece.isEmpty, "no lease")
      document += piece
    }
    lease = try JSONDecoder().decode(Broker1.Lease.self, from: document)
  }

  deinit { process.end() }

  /// Ends it: its exit status, and what it said on standard error.
  @discardableResult
  func end(_ signal: Int32) -> (status: Int32, errors: String) {
    kill(process.processIdentifier, signal)
    return wait()
  }

  /// Waits for its end.
  func wait() -> (status: Int32, errors: String) {
    let said = errors.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: said, as: UTF8.self))
  }
}

extension Executable {
  /// A PATH that begins with the executables' directory.
  static var searchPath: String {
    let directory = URL(fileURLWithPath: genpoolctl).deletingLastPathComponent().path()
    return directory + ":" + (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin")
  }
}

extension Executable.Result {
  /// The one JSON document of a successful command.
  func document<Document: Decodable>(_ type: Document.Type) throws -> Document {
    try #require(status == 0, "\(errors)")
    return try JSONDecoder().decode(type, from: Data(output.utf8))
  }

  /// The keys of the outermost object, as they are printed.
  var keys: [String] {
    output.split(separator: "\n").filter { $0.hasPrefix("  \"") }
      .compactMap { $0.split(separator: "\"").dropFirst().first.map(String.init) }
  }

  /// Whether a terminal of 80 columns shows every line whole.
  var fitsTerminal: Bool { output.split(separator: "\n").allSatisfy { $0.count <= 80 } }
}
