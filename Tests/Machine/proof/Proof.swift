import ArgumentParser
import DeviceMemory
import DeviceOpener
import DeviceSources
import FoundationEssentials
import Glibc
import NVMe
import PCIDevices
import SystemPackage

/// Shows that DMA arrives where genpool says, and nowhere else. Runs in the guest of a machine test; each
/// verb prints one JSON line, which the host does not believe without having looked itself.
@main
struct Proof: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "dma-proof",
    subcommands: [
      Arrival.self, Churn.self, PastEnd.self, Mixed.self, Unmapped.self, MemoryOff.self,
      SwitchOff.self, Outlive.self,
    ])

  static func main() {
    do {
      var command = try parseAsRoot()
      try FaultGuard.enable()
      try command.run()
    } catch let error as ExitCode {
      Glibc.exit(error.rawValue)
    } catch  where error is CleanExit || error is ValidationError {
      exit(withError: error)
    } catch {
      _ = try? FileDescriptor.standardError.writeAll("dma-proof: \(error)\n".utf8)
      Glibc.exit(1)
    }
  }
}

/// What every verb is told.
struct ProofOptions: ParsableArguments {
  @Option(help: "The controller that does DMA.")
  var initiator: PCIAddress

  @Option(help: "The memory that it does it to.")
  var memory: MemoryChoice

  @Option(help: "What the host has chosen for this run.")
  var seed: UInt64

  @Option(help: "sysfs or vfio.")
  var source: MemorySource = .sysfs

  @Option(help: "An attach rule that may be broken.")
  var allow: [String] = []

  /// What opens the memory.
  func driverMemory() throws -> DriverMemory {
    DriverMemory(initiator: initiator, source: source, allowed: Set(allow))
  }

  /// The initiator, its admin queues in host memory.
  func driver(_ all: DriverMemory) throws -> Driver {
    let host = try all.pool(of: .host)
    let driver = try Driver(
      all.controller(at: initiator),
      memory: Driver.Memory(submissions: host, completions: host, lists: host))
    // Commands take microseconds here; one that gets lost should not take the scenario's time.
    driver.patience = .seconds(5)
    return driver
  }
}

/// What did not hold.
struct Disproof: Error, CustomStringConvertible {
  let description: String

  init(_ description: String) {
    self.description = description
  }
}

/// Throws unless `holds`.
func expect(_ holds: Bool, _ otherwise: @autoclosure () -> String) throws(Disproof) {
  guard holds else { throw Disproof(otherwise()) }
}

/// Throws unless both are the same, with the first difference.
func expectSame(_ got: [UInt8], _ expected: some Collection<UInt8>, _ what: String) throws(Disproof)
{
  guard !got.elementsEqual(expected) else { return }
  let index = zip(got, expected).enumerated().first { $0.element.0 != $0.element.1 }?.offset
  throw Disproof("\(what): differs from byte \(index ?? min(got.count, expected.count)) on")
}

/// Prints one line of facts.
func report(_ facts: some Encodable) throws {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  let line = String(decoding: try encoder.encode(facts), as: UTF8.self) + "\n"
  _ = try FileDescriptor.standardOutput.writeAll(line.utf8)
}
