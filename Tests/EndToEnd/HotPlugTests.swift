import BrokerProtocol
import DeviceMemory
import Foundation
import GenPool
import GenPoolClient
import TestSupport
import Testing

/// Devices that come and go under a genpoold, by `genpoolctl emulate add` and `remove`.
@Suite(.serialized) struct HotPlugTests {
  private let machine: EmulatedMachine
  private let daemon: RunningDaemon
  private let spec = "nvme,cmb=16M,address=0000:01:00.0"

  init() throws {
    machine = try EmulatedMachine()
    daemon = try RunningDaemon(machine, ["--attach", "\(machine.device):2,name=cmb"])
    try daemon.waitUntilReady(at: machine.socket)
  }

  private func pools() throws -> String { try machine.control("pool", "list", "--json").output }

  private func unplug() throws {
    let result = try machine.control("emulate", "remove", machine.directory, machine.device)
    #expect(result.status == 0 && result.output == "Device 0000:01:00.0 is pulled out.\n")
  }

  private func replug() throws {
    let result = try machine.control("emulate", "add", machine.directory, "--device", spec)
    #expect(result.status == 0 && result.output == "Device 0000:01:00.0 is plugged in.\n")
  }

  /// A genpoolctl that runs on.
  private func start(_ arguments: String...) throws -> (process: Process, output: FileHandle) {
    let process = Process()
    let pipe = Pipe()
    process.executableURL = URL(fileURLWithPath: Executable.genpoolctl)
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(machine.environment) { $1 }
    process.standardOutput = pipe
    process.standardError = FileHandle.nullDevice
    process.standardInput = FileHandle.nullDevice
    try process.start()
    return (process, pipe.fileHandleForReading)
  }

  /// A process that holds a lease until it is ended, whatever becomes of the lease; what it has said.
  private func startHolder(_ size: String) throws -> (process: Process, facts: String) {
    let (process, output) = try start(
      "lease", "acquire", "--size", size, "--json", "--", "sleep", "1000")
    return (process, read(output, until: "}"))
  }

  /// Not by SIGTERM, which children of a test's thread are born without.
  private func end(_ holder: Process) {
    holder.end()
  }

  /// Reads until `text` is there, or the end.
  private func read(_ output: FileHandle, until text: String) -> String {
    var said = ""
    while !said.contains(text) {
      let bytes = output.availableData
      if bytes.isEmpty { break }
      said += String(decoding: bytes, as: UTF8.self)
    }
    return said
  }

  @Test func `a device that goes takes its pool along, and brings it back`() throws {
    for _ in 0..<5 {
      #expect(try pools().contains("\"cmb\""))
      try unplug()
      try wait(for: "the pool's end") { try !pools().contains("\"cmb\"") }
      try replug()
      try wait(for: "the pool") { try pools().contains("\"active\"") }
      let lease = try machine.control("lease", "acquire", "--size", "16M", "--dump=16")
      #expect(lease.status == 0, "\(lease.errors)")
    }
    #expect(daemon.end() == 0)
  }

  @Test func `a holder keeps the old memory, and the new device waits for its end`() throws {
    let monitor = try start("monitor", "--json")
    #expect(read(monitor.output, until: "started").contains("started"))
    let holder = try startHolder("1M")
    #expect(holder.facts.contains("\"pool\""), "\(holder.facts)")
    try unplug()
    let told = read(monitor.output, until: "leaseRevoked")
    #expect(told.contains("regionRevoked") && told.contains("was removed"))
    #expect(told.split(separator: "\n").allSatisfy { $0.hasPrefix("{") && $0.hasSuffix("}") })
    try replug()
    usleep(300_000)
    #expect(try pools().contains("\"revoked\""))
    #expect(try machine.control("lease", "acquire", "--size", "4K").status == 1)
    let again = try machine.control("pool", "attach", "\(machine.device):2,name=again")
    #expect(again.status != 0 && again.errors.contains("old one"), "\(again.errors)")
    end(holder.process)
    try wait(for: "the new device's pool") { try pools().contains("\"active\"") }
    #expect(read(monitor.output, until: "regionAdded").contains("regionRemoved"))
    #expect(try machine.control("lease", "acquire", "--size", "16M", "--dump=16").status == 0)
    monitor.process.terminate()
    #expect(daemon.end() == 0)
  }

  @Test func `a BAR that root resizes takes its pool along, and the new one comes`() throws {
    let monitor = try start("monitor", "--json")
    #expect(read(monitor.output, until: "started").contains("started"))
    let file = "\(machine.directory)/bus/pci/devices/\(machine.device)/resource"
    var rows = try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n")
      .map { String($0) }
    let fields = rows[2].split(separator: " ")
    let first = try #require(UInt64(fields[0].dropFirst(2), radix: 16))
    rows[2] = "\(fields[0]) 0x\(String(first + (8 << 20) - 1, radix: 16)) \(fields[2])"
    try rows.joined(separator: "\n").write(toFile: file, atomically: true, encoding: .utf8)
    #expect(read(monitor.output, until: "regionRevoked").contains("moved or resized"))
    try wait(for: "the smaller pool") { try pools().contains("8388608") }
    monitor.process.terminate()
    #expect(daemon.end() == 0)
  }

  @Test func `a program that asks survives, and what it still maps is nobody's`() throws {
    let connection = try Connection(to: BrokerSocket(path: machine.socket))
    let lease = try connection.acquire(.mebibytes(1))
    try lease.region.mapping.store(0x5a5a_5a5a as UInt32, at: .zero)
    #expect(try !lease.checkRevoked())
    try unplug()
    try wait(for: "the revocation") { try pools().contains("\"revoked\"") }
    try replug()
    usleep(300_000)
    #expect(try pools().contains("\"revoked\""))
    #expect(try lease.checkRevoked())
    // The lease is not released, and its process lives: only the memory was let go of.
    try wait(for: "the new device's pool") { try pools().contains("\"active\"") }
    #expect(try lease.region.mapping.load(at: .zero) as UInt32 == .max)
    try lease.region.mapping.store(0x6b6b_6b6b as UInt32, at: .zero)
    let dump = try machine.control("lease", "acquire", "--size", "16M", "--dump=1M")
    // One alone may be in the lease's digits.
    #expect(dump.status == 0 && !dump.output.contains("6b 6b"), "\(dump.errors)")
    #expect(daemon.end() == 0)
  }

  @Test func `what happens while news are too many to be kept is found out`() throws {
    let limit = try String(
      contentsOfFile: "/proc/sys/fs/inotify/max_queued_events", encoding: .utf8)
    let room = try #require(Int(limit.trimmingCharacters(in: .whitespacesAndNewlines)))
    kill(daemon.process.processIdentifier, SIGSTOP)
    // Each renaming is two events.
    let names = ["noise", "noises"].map { machine.directory + "/bus/pci/devices/" + $0 }
    #expect(unsafe symlink("nowhere", names[0]) == 0)
    for step in 0...(room / 2) {
      guard unsafe rename(names[step % 2], names[1 - step % 2]) == 0 else {
        Issue.record("no noise: errno \(errno)")
        break
      }
    }
    for name in names { _ = unsafe unlink(name) }
    try unplug()
    kill(daemon.process.processIdentifier, SIGCONT)
    try wait(for: "the pool's end") { try !pools().contains("\"cmb\"") }
    try replug()
    try wait(for: "the pool") { try pools().contains("\"active\"") }
    #expect(daemon.end() == 0)
  }

  @Test func `what an admin takes back by force is named, and stays out of use`() throws {
    let holder = try startHolder("16M")
    let match = try #require(holder.facts.firstMatch(of: /"lease" : "(\w+)"/))
    let forced = try machine.control("lease", "release", String(match.1))
    #expect(forced.status == 0 && forced.output.contains("is revoked"), "\(forced.errors)")
    #expect(try machine.control("lease", "acquire", "--size", "4K", "--dump").status == 75)
    let waiting = try start("lease", "acquire", "--size", "4K", "--wait", "20", "--dump=16")
    usleep(200_000)
    #expect(waiting.process.isRunning)
    end(holder.process)
    waiting.process.waitUntilExit()
    #expect(waiting.process.terminationStatus == 0)
    #expect(daemon.end() == 0)
  }

  @Test func `who only holds a lease ends with it, and says why`() throws {
    let holder = try start("lease", "acquire", "--size", "16M", "--hold")
    #expect(read(holder.output, until: "isolation").contains("pool"))
    try unplug()
    holder.process.waitUntilExit()
    #expect(holder.process.terminationStatus == 1)
    try wait(for: "the pool's end") { try !pools().contains("\"cmb\"") }
    #expect(daemon.end() == 0)
  }

  @Test func `pulling out what is not there says so`() throws {
    let result = try machine.control("emulate", "remove", machine.directory, "0000:09:00.0")
    #expect(result.status == 1 && result.errors.contains("0000:09:00.0"))
    #expect(try machine.control("emulate", "add", machine.directory).status == 64)
    #expect(try machine.control("emulate", "remove", machine.directory, "x").status == 64)
  }

  @Test func `a pool whose file the kernel has made anew is revoked, and the cause is told`() throws
  {
    let machine = try PoolMachine()
    // As when another BAR of the device is resized: each resourceN is another file then.
    try FileManager.default.moveItem(atPath: machine.bar, toPath: machine.bar + ".old")
    #expect(FileManager.default.createFile(atPath: machine.bar, contents: nil))
    try wait(for: "the review") { try !machine.control("pool", "list").output.contains("cmb") }
    #expect(machine.daemon.end() == 0)
    let log = machine.daemon.readLog()
    #expect(log.contains("the kernel has made the files of 0000:01:00.0 anew"), "\(log)")
  }
}
