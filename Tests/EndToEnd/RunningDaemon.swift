import BrokerProtocol
import Foundation
import GenPoolClient
import LinuxSystem
import TestSupport
import Testing

/// The executables that were built with these tests.
enum Executable {
  static let genpoold = path("genpoold")
  static let genpoolctl = path("genpoolctl")
  static let genpoolBench = path("genpool-bench")
  static let attacker = path("attacker")
  static let readmeLibrary = path("readme-library")
  static let readmeClient = path("readme-client")
  static let readmeEvents = path("readme-events")

  private static func path(_ name: String) -> String {
    let tests = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: tests).deletingLastPathComponent().appending(path: name).path()
  }

  typealias Result = CommandResult

  /// Runs a command to its end; one that does not end in time fails the test.
  static func run(
    _ path: String, _ arguments: [String], environment: [String: String] = [:]
  ) throws -> Result {
    let result = try Result(running: path, arguments, environment: environment)
    if result.hasTimedOut {
      let command = URL(fileURLWithPath: path).lastPathComponent
      Issue.record("\(command) \(arguments) does not end: \(result.errors)")
    }
    return result
  }
}

/// An emulated sysfs tree with a device, by default an NVMe one whose BAR 2 is a controller memory
/// buffer of 16 MiB.
final class EmulatedMachine {
  let directory: String
  let device = "0000:01:00.0"

  init(
    _ kind: String = "nvme,cmb=16M",
    below place: String = FileManager.default.temporaryDirectory.path()
  ) throws {
    directory = URL(fileURLWithPath: place).appending(path: "genpool-\(UUID().uuidString)").path()
    let made = try Executable.run(
      Executable.genpoolctl, ["emulate", directory, "--device", kind])
    try #require(made.status == 0, "\(made.errors)")
  }

  /// A tree that is there already.
  init(at directory: String) { self.directory = directory }

  deinit { try? FileManager.default.removeItem(atPath: directory) }

  var socket: String { directory + "/run/io.genpool.Broker1" }
  var adminSocket: String { BrokerSocket(path: socket).admin.path }

  var environment: [String: String] {
    ["GENPOOL_SYSFS_ROOT": directory, "GENPOOL_SOCKET": socket]
  }

  /// A file of the device as it is now.
  func attribute(_ name: String) throws -> String {
    try String(
      contentsOfFile: "\(directory)/bus/pci/devices/\(device)/\(name)", encoding: .utf8)
  }

  func control(_ arguments: String...) throws -> Executable.Result {
    try Executable.run(Executable.genpoolctl, arguments, environment: environment)
  }
}

/// A genpoold that runs, killed at the latest with this object.
final class RunningDaemon {
  let process = Process()
  private let log: Pipe

  /// Starts `command`, a genpoold with arguments or something that becomes one.
  init(
    _ machine: EmulatedMachine, _ arguments: [String], path: String = Executable.genpoold,
    environment: [String: String] = [:], input: FileHandle = .nullDevice, log: Pipe = Pipe()
  ) throws {
    self.log = log
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(machine.environment) {
      $1
    }.merging(environment) { $1 }
    process.standardError = log
    process.standardOutput = FileHandle.nullDevice
    process.standardInput = input
    try process.start()
  }

  deinit { process.end() }

  /// Waits until the daemon answers: its socket is there before, and a connection waits.
  func waitUntilReady(at path: String) throws {
    for _ in 0..<1000 {
      let connection = try? Connection(to: BrokerSocket(path: path), timeout: .seconds(30))
      if (try? connection?.hello()) != nil { return }
      try #require(process.isRunning, "\(readLog())")
      usleep(10_000)
    }
    throw TimedOut(what: "genpoold does not get ready")
  }

  /// Asks it to end; returns its exit status.
  func end(_ signal: Int32 = SIGTERM) -> Int32 {
    process.end(signal)
  }

  /// All that it logged, once it has ended.
  func readLog() -> String {
    String(decoding: log.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  }
}

/// A connection without calls. Closed with the last reference to it.
final class ConnectedSocket {
  private let socket: StreamSocket

  init(to path: String) throws { socket = try StreamSocket(connectingTo: path) }
}
