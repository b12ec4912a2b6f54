import BrokerProtocol
import Foundation
import Glibc
import TestSupport
import Testing

/// Pools whose memory a process maps while genpoold starts.
@Suite(.serialized) struct WaitingPoolTests {
  private let machine: EmulatedMachine
  private var bar: String { "\(machine.directory)/bus/pci/devices/\(machine.device)/resource2" }
  private var file: String { machine.directory + "/genpoold.json" }

  /// The means by which genpoold is told of the pool.
  enum Source: CaseIterable {
    case configuration
    case commandLine
  }

  init() throws {
    machine = try EmulatedMachine()
  }

  private func start(_ source: Source) throws -> RunningDaemon {
    let arguments: [String]
    switch source {
    case .configuration:
      try "{\"pools\": [{\"device\": \"\(machine.device)\", \"bar\": 2, \"name\": \"cmb\"}]}".write(
        toFile: file, atomically: true, encoding: .utf8)
      arguments = ["--config", file]
    case .commandLine: arguments = ["--attach", "\(machine.device):2,name=cmb"]
    }
    let daemon = try RunningDaemon(machine, arguments)
    try daemon.waitUntilReady(at: machine.socket)
    return daemon
  }

  private func acquire(_ arguments: String...) throws -> Executable.Result {
    try Executable.run(
      Executable.genpoolctl, ["lease", "acquire", "--size", "4K", "--dump=16"] + arguments,
      environment: machine.environment)
  }

  private func state() throws -> Broker1.PoolState? {
    try machine.control("pool", "list", "--json").document(Broker1.ListPools.Reply.self).pools
      .first { $0.name == "cmb" }?.state
  }

  @Test(arguments: Source.allCases)
  func `a pool whose memory is mapped waits, and an Acquire with it`(source: Source) throws {
    let holder = try MappingProcess(bar)
    let daemon = try start(source)
    #expect(try machine.control("pool", "list").output.contains(" waiting\n"))
    let shown = try machine.control("pool", "show", "cmb")
    #expect(shown.output.contains("still maps memory of it") && shown.fitsTerminal)
    #expect(shown.output.contains("genpoolctl pool detach cmb"))
    #expect(try state() == .waiting)
    for arguments in [[], ["--pool", "cmb"], ["--pool", "cmb", "--wait", "0.1"]] {
      let refused = try Executable.run(
        Executable.genpoolctl, ["lease", "acquire", "--size", "4K", "--dump=16"] + arguments,
        environment: machine.environment)
      #expect(refused.status == 75 && refused.errors.contains("is not attached yet"))
    }
    let waiter = Process()
    waiter.executableURL = URL(fileURLWithPath: Executable.genpoolctl)
    waiter.arguments = [
      "lease", "acquire", "--size", "4K", "--pool", "cmb", "--dump=16", "--wait", "30",
    ]
    waiter.environment = ProcessInfo.processInfo.environment.merging(machine.environment) { $1 }
    waiter.standardOutput = FileHandle.nullDevice
    try waiter.start()
    usleep(1_500_000)
    #expect(waiter.isRunning)
    #expect(try holder.end() == MappingProcess.text + "\n", "it was not erased")
    // It is tried each second meanwhile; the limit is ten times that.
    let end = ContinuousClock.now + .seconds(10)
    while waiter.isRunning, .now < end { usleep(10_000) }
    #expect(!waiter.isRunning)
    waiter.end()
    #expect(waiter.terminationStatus == 0)
    #expect(try state() == .active)
    #expect(daemon.end() == 0)
    let log = daemon.readLog()
    #expect(log.split(separator: "\n").count { $0.contains(" waiting cause=") } == 1, "\(log)")
    #expect(log.contains("notice attach ") && log.contains("waited="))
  }

  @Test func `an admin and a reload end it`() throws {
    let holder = try MappingProcess(bar)
    let daemon = try start(.configuration)
    #expect(try machine.control("pool", "detach", "cmb").status == 0)
    #expect(try state() == nil)
    kill(daemon.process.processIdentifier, SIGHUP)
    try wait(for: "the pool") { try state() == .waiting }
    try "{}".write(toFile: file, atomically: true, encoding: .utf8)
    kill(daemon.process.processIdentifier, SIGHUP)
    try wait(for: "its end") { try state() == nil }
    _ = try holder.end()
    #expect(try acquire().status == 1)
    #expect(daemon.end() == 0)
  }
}
