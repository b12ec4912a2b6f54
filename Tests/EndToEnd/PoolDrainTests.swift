import BrokerProtocol
import Foundation
import GenPool
import LinuxSystem
import TestSupport
import Testing

/// `genpoolctl pool drain`, `genpoolctl wait` and pools by the start of their names, against a running
/// genpoold.
@Suite(.serialized) struct PoolDrainTests {
  @Test func `a pool is drained, refuses, is waited for, undone, and detached`() throws {
    let machine = try PoolMachine()
    let held = try HeldLease(machine, "--size", "4K")
    let draining = try machine.control("pool", "drain", "cmb")
    #expect(draining.status == 0, "\(draining.errors)")
    #expect(draining.output.hasPrefix("Pool cmb leases no more"))
    #expect(draining.output.contains("1 lease"))
    let refused = try machine.control("lease", "acquire", "--size", "4K", "--dump")
    #expect(refused.status == 75 && refused.errors.contains("pool drain cmb --undo"))
    let late = try machine.control("pool", "drain", "cmb", "--wait=0.2")
    #expect(late.status == 75 && late.errors.contains("not drained in time, 1 lease"))
    #expect(try machine.control("pool", "list").output.contains(" draining\n"))
    #expect(try machine.control("pool", "drain", "cmb", "--undo").output == "Pool cmb leases.\n")
    let again = try machine.control("lease", "acquire", "--size", "4K", "--dump=16")
    #expect(again.status == 0, "\(again.errors)")

    let waiting = Process()
    waiting.executableURL = URL(fileURLWithPath: Executable.genpoolctl)
    waiting.arguments = ["pool", "drain", "cmb", "--wait=60", "--json"]
    waiting.environment = ProcessInfo.processInfo.environment.merging(machine.machine.environment) {
      $1
    }
    let output = Pipe()
    waiting.standardOutput = output
    try waiting.start()
    try wait(for: "the drain") { try machine.pool().state == .draining }
    #expect(held.end(SIGTERM).status == 0)
    let document = output.fileHandleForReading.readDataToEndOfFile()
    waiting.waitUntilExit()
    #expect(waiting.terminationStatus == 0)
    let reply = try JSONDecoder().decode(Broker1.DrainPool.Reply.self, from: document)
    #expect(reply.pool.state == .drained)
    #expect(try machine.control("pool", "list").output.contains(" drained\n"))
    #expect(try machine.control("pool", "detach", "cmb").status == 0)
    let attached = try machine.control("pool", "attach", "01:00.0:2,name=cmb", "--json")
    #expect(try attached.document(Broker1.Attach.Reply.self).pool.state == .active)
  }

  @Test func `a configured pool stays drained across a reload, and its drain is no loss of it`()
    throws
  {
    let machine = try EmulatedMachine()
    let file = machine.directory + "/genpoold.json"
    func write(_ fields: String) throws {
      try """
      {"pools": [{"device": "\(machine.device)", "bar": 2, "name": "cmb"\(fields)}]}
      """.write(toFile: file, atomically: true, encoding: .utf8)
    }
    try write("")
    let daemon = try RunningDaemon(machine, ["--config", file])
    try daemon.waitUntilReady(at: machine.socket)
    #expect(try machine.control("pool", "drain", "cmb", "--wait=60").status == 0)
    try write(", \"access\": {\"users\": [\"root\"]}")
    kill(daemon.process.processIdentifier, SIGHUP)
    try wait(for: "the reload") {
      try machine.control("pool", "show", "cmb", "--json").output.contains("\"root\"")
    }
    let shown = try machine.control("pool", "show", "cmb").output
    #expect(shown.contains("state       drained\n"), "\(shown)")
    #expect(shown.contains("for         user root, root and admins\n"))
    #expect(try machine.control("pool", "drain", "cmb", "--undo").status == 0)
    #expect(try machine.control("lease", "acquire", "--size", "4K", "--dump=16").status == 0)
    #expect(daemon.end() == 0)
    let log = daemon.readLog()
    let detached = log.split(separator: "\n").filter { $0.contains(" detach ") }
    #expect(detached.allSatisfy { $0.contains("the broker ends") }, "\(log)")
    #expect(log.contains("pool cmb: changed (access all users -> "), "\(log)")
  }

  @Test(.enabled(if: getuid() == 0, "only root can be another user"))
  func `a user whom the configuration does not name is refused, and told who may`() throws {
    let machine = try EmulatedMachine()
    let file = machine.directory + "/genpoold.json"
    try """
    {"pools": [{"device": "\(machine.device)", "bar": 2, "name": "cmb",
      "access": {"users": [1001], "groups": ["root"]},
      "quotas": {"defaults": {"bytes": "4K"}}}]}
    """.write(toFile: file, atomically: true, encoding: .utf8)
    let daemon = try RunningDaemon(machine, ["--config", file])
    try daemon.waitUntilReady(at: machine.socket)
    #expect(
      try machine.control("wait", "--pool", "cmb", "--available", "16M", "--timeout", "60").status
        == 0)
    _ = unsafe chmod(machine.directory, 0o755)
    _ = unsafe chmod(machine.directory + "/run", 0o755)
    _ = unsafe chmod(machine.socket, 0o666)
    let attacker = try Attacker(
      ["hold"], at: machine.socket, uid: 1002, poolSize: 16 << 20, wait: 0)
    #expect(!attacker.isGranted && attacker.answer.contains("PoolDenied"), "\(attacker.answer)")
    let lessee = try Attacker(["hold"], at: machine.socket, uid: 1001, poolSize: 16 << 20, wait: 0)
    #expect(lessee.isGranted, "\(lessee.answer)")
    let greedy = try Attacker(
      ["hold"], at: machine.socket, uid: 1001, poolSize: 16 << 20, wait: 0)
    #expect(greedy.answer.contains("QuotaExceeded"), "\(greedy.answer)")
    _ = daemon.end()
  }

  @Test func `a pool is found by the start of its name or of its memory's`() throws {
    let machine = try PoolMachine()
    for name in ["c", "cm", "0000:01:00.0:2", "0000:01", "01:00.0:2", "01:00"] {
      let shown = try machine.control("pool", "show", name)
      #expect(shown.status == 0 && shown.output.contains("pool        cmb\n"), "\(name)")
    }
    let leased = try machine.control("lease", "acquire", "--size", "4K", "--pool", "c", "--dump=16")
    #expect(leased.status == 0, "\(leased.errors)")
    #expect(try machine.control("lease", "list", "--pool", "c").status == 0)
    #expect(try machine.control("pool", "detach", "cm").output == "Pool cmb is detached.\n")
    let none = try machine.control("pool", "show", "x")
    #expect(none.status == 1 && none.errors.contains("no pool x is attached"))
  }

  @Test func `what begins several names is wrong usage, and lists them`() throws {
    let machine = try EmulatedMachine("nvme,cmb=16M,pmr=16M")
    let daemon = try RunningDaemon(
      machine,
      [
        "--attach", "\(machine.device):2,name=mem", "--attach",
        "\(machine.device):pmr,erase=yes,name=memory",
      ])
    try daemon.waitUntilReady(at: machine.socket)
    for arguments in [
      ["pool", "show", "me"], ["pool", "detach", "me"], ["pool", "drain", "0000:01"],
      ["lease", "acquire", "--size", "4K", "--pool", "me"], ["lease", "list", "--pool", "m"],
    ] {
      let result = try Executable.run(
        Executable.genpoolctl, arguments, environment: machine.environment)
      #expect(result.status == 64, "\(arguments): \(result.errors)")
      #expect(result.errors.contains("2 begin so, mem, memory"), "\(result.errors)")
    }
    let whole = try machine.control("pool", "show", "mem")
    #expect(
      whole.status == 0 && whole.output.contains("pool        mem\n"), "a whole name is itself")
    _ = daemon.end()
  }

  @Test func `a drain outlives a reload that gives the pool up, and who waits for it is told`()
    throws
  {
    let machine = try EmulatedMachine()
    let file = machine.directory + "/genpoold.json"
    func write(_ text: String) throws {
      try text.write(toFile: file, atomically: true, encoding: .utf8)
    }
    let entry = "{\"device\": \"\(machine.device)\", \"bar\": 2, \"name\": \"cmb\"}"
    try write("{\"pools\": [\(entry)]}")
    let daemon = try RunningDaemon(machine, ["--config", file])
    try daemon.waitUntilReady(at: machine.socket)
    let holder = Process()
    holder.executableURL = URL(fileURLWithPath: Executable.genpoolctl)
    holder.arguments = ["lease", "acquire", "--size", "4K", "--hold"]
    holder.environment = ProcessInfo.processInfo.environment.merging(machine.environment) { $1 }
    holder.standardOutput = FileHandle.nullDevice
    try holder.start()
    try wait(for: "the lease") { try machine.control("lease", "list").output.contains("leased") }
    let waiting = Process()
    waiting.executableURL = URL(fileURLWithPath: Executable.genpoolctl)
    waiting.arguments = ["pool", "drain", "cmb", "--wait=60"]
    waiting.environment = holder.environment
    let errors = Pipe()
    waiting.standardError = errors
    waiting.standardOutput = FileHandle.nullDevice
    try waiting.start()
    try wait(for: "the drain") {
      try machine.control("pool", "list").output.contains(" draining\n")
    }
    try write("{}")
    kill(daemon.process.processIdentifier, SIGHUP)
    try wait(for: "the reload") {
      let log = try machine.control("pool", "drain", "cmb").output
      kill(daemon.process.processIdentifier, SIGHUP)
      return log.contains("Pool cmb")
    }
    holder.end()
    let said = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    waiting.waitUntilExit()
    #expect(waiting.terminationStatus == 1 && said.contains("detached while it drained"), "\(said)")
    try write("{\"pools\": [\(entry)]}")
    kill(daemon.process.processIdentifier, SIGHUP)
    try wait(for: "the pool") { try machine.control("pool", "list").output.contains(" drained\n") }
    #expect(try machine.control("pool", "drain", "cmb", "--undo").output == "Pool cmb leases.\n")
    _ = daemon.end()
  }

  @Test func `a pool that an admin attached anew gets the configuration's access at a reload`()
    throws
  {
    let machine = try EmulatedMachine()
    let file = machine.directory + "/genpoold.json"
    try """
    {"pools": [{"device": "\(machine.device)", "bar": 2, "name": "cmb",
      "access": {"users": ["1001"]}}]}
    """.write(toFile: file, atomically: true, encoding: .utf8)
    let daemon = try RunningDaemon(machine, ["--config", file])
    try daemon.waitUntilReady(at: machine.socket)
    func isForAlice() throws -> Bool {
      try machine.control("pool", "show", "cmb", "--json").output.contains("\"1001\"")
    }
    #expect(try isForAlice())
    #expect(try machine.control("pool", "detach", "cmb").status == 0)
    #expect(try machine.control("pool", "attach", "01:00.0:2,name=cmb").status == 0)
    #expect(try !isForAlice())
    kill(daemon.process.processIdentifier, SIGHUP)
    try wait(for: "the reload") { try isForAlice() }
    _ = daemon.end()
  }

  // MARK: wait

  @Test func `a pool that a daemon lost as it died is not drained`() throws {
    let machine = try PoolMachine()
    let held = try HeldLease(machine, "--size", "4K")
    #expect(try machine.control("pool", "drain", "cmb").status == 0)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: Executable.genpoolctl)
    process.arguments = ["wait", "--pool", "cmb", "--state", "drained", "--timeout", "4"]
    process.environment = ProcessInfo.processInfo.environment.merging(machine.machine.environment) {
      $1
    }
    let errors = Pipe()
    process.standardError = errors
    process.standardOutput = FileHandle.nullDevice
    try process.start()
    usleep(500_000)
    _ = machine.daemon.end(SIGKILL)
    let next = try RunningDaemon(machine.machine, [])
    try next.waitUntilReady(at: machine.machine.socket)
    let said = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 75 && said.contains("wait for pool cmb"), "\(said)")
    _ = held
    _ = next.end()
  }

  @Test func `waiting for a device that rules refuse starts no daemon`() throws {
    let machine = try EmulatedMachine("nvme,cmb=16M,driver=nvme")
    try FileManager.default.createDirectory(
      atPath: machine.directory + "/run", withIntermediateDirectories: true)
    let listener = try SocketListener(path: machine.socket, mode: 0o600)
    let late = try machine.control("wait", "--device", machine.device, "--timeout", "0")
    #expect(late.status == 75 && late.errors.contains("driver-bound"), "\(late.errors)")
    #expect(try listener.accept() == nil, "a connection would start a daemon that is not there")
  }

  @Test func `waiting ends when all holds, with 75 when it does not, and says which`() throws {
    let machine = try PoolMachine()
    let all = try machine.control(
      "wait", "--daemon", "--pool", "cmb", "--available", "16M", "--device", machine.machine.device)
    #expect(all.status == 0, "\(all.errors)")
    #expect(
      all.output == "device \(machine.machine.device): yes\ndaemon: yes\npool cmb: yes\n")
    let late = try machine.control("wait", "--pool", "cmb", "--available", "17M", "--timeout", "0")
    #expect(late.status == 75 && late.output.isEmpty)
    #expect(
      late.errors.contains("wait for pool cmb: not within 0 s (16 MiB of it"), "\(late.errors)")
    let json = try machine.control(
      "wait", "--daemon", "--pool", "attic", "--timeout", "0.3", "--json")
    #expect(json.status == 75 && json.keys == ["conditions", "met"])
    #expect(json.output.contains("\"met\" : false") && json.output.contains("\"problem\""))
    let absent = try machine.control("wait", "--device", "0000:09:00.0", "--timeout", "0")
    #expect(absent.status == 75 && absent.errors.contains("0000:09:00.0"))
    for wrong in [
      ["wait"], ["wait", "--daemon", "--state", "drained"],
      ["wait", "--daemon", "--available", "1"],
      ["wait", "--pool", "x", "--state", "drained", "--available", "1"],
      ["wait", "--daemon", "--timeout", "soon"],
    ] {
      #expect(try machine.control(wrong).status == 64, "\(wrong)")
    }
    let none = try machine.control(
      "wait", "--daemon", "--socket", "/nonexistent/x", "--timeout", "0")
    #expect(none.status == 75 && none.errors.contains("/nonexistent/x"), "\(none.errors)")
  }

  @Test func `waiting hears of a daemon, a pool, memory and a device that come later`() throws {
    let machine = try EmulatedMachine()
    func waiting(_ arguments: String...) throws -> Process {
      let process = Process()
      process.executableURL = URL(fileURLWithPath: Executable.genpoolctl)
      process.arguments = ["wait", "--timeout", "120"] + arguments
      process.environment = ProcessInfo.processInfo.environment.merging(machine.environment) { $1 }
      process.standardOutput = FileHandle.nullDevice
      try process.start()
      return process
    }
    func end(_ process: Process) -> Int32 {
      process.waitUntilExit()
      return process.terminationStatus
    }
    let (daemonWait, poolWait) = try (waiting("--daemon"), waiting("--pool", "late"))
    let daemon = try RunningDaemon(machine, ["--attach", "\(machine.device):2,size=1M,name=early"])
    #expect(end(daemonWait) == 0)
    #expect(poolWait.isRunning)
    try daemon.waitUntilReady(at: machine.socket)
    #expect(try machine.control("pool", "detach", "early").status == 0)
    #expect(try machine.control("pool", "attach", "01:00.0:2,size=1M,name=late").status == 0)
    #expect(end(poolWait) == 0)

    let drained = try waiting("--pool", "late", "--state", "drained")
    #expect(try machine.control("wait", "--pool", "late", "--available", "1M").status == 0)
    #expect(drained.isRunning)
    #expect(try machine.control("pool", "drain", "late").status == 0)
    #expect(end(drained) == 0)

    let deviceWait = try waiting("--device", "02:00.0")
    #expect(
      try machine.control(
        "emulate", "add", machine.directory, "--device", "ivshmem,size=1M,address=0000:02:00.0"
      ).status == 0)
    #expect(end(deviceWait) == 0)
    _ = daemon.end()
  }

  @Test func `a held lease says that it is held, and how it ends`() throws {
    let machine = try PoolMachine()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: Executable.genpoolctl)
    process.arguments = ["lease", "acquire", "--size", "4K"]
    process.environment = ProcessInfo.processInfo.environment.merging(machine.machine.environment) {
      $1
    }
    let errors = Pipe()
    process.standardError = errors
    process.standardOutput = FileHandle.nullDevice
    try process.start()
    let said = String(decoding: errors.fileHandleForReading.availableData, as: UTF8.self)
    #expect(said.contains("kill \(process.processIdentifier) gives it back"), "\(said)")
    process.end(SIGTERM)
    #expect(process.terminationStatus == 0)
  }
}
