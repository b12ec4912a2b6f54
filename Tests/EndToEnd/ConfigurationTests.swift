import Foundation
import GenPool
import TestSupport
import Testing

/// genpoold with a configuration, as its users run it, over an emulated device.
@Suite(.serialized) struct ConfigurationTests {
  private let machine: EmulatedMachine
  private var file: String { machine.directory + "/genpoold.json" }

  init() throws {
    machine = try EmulatedMachine()
  }

  private func write(_ text: String) throws {
    try text.write(toFile: file, atomically: true, encoding: .utf8)
  }

  private func pool(_ fields: String = "") -> String {
    "{\"pools\": [{\"device\": \"\(machine.device)\", \"bar\": 2, \"name\": \"cmb\"\(fields)}]}"
  }

  private func check() throws -> Executable.Result {
    try Executable.run(
      Executable.genpoold, ["--config", file, "--check-config"], environment: machine.environment)
  }

  private func daemon(_ arguments: String...) throws -> RunningDaemon {
    let daemon = try RunningDaemon(machine, ["--config", file] + arguments)
    try daemon.waitUntilReady(at: machine.socket)
    return daemon
  }

  private func pools() throws -> String { try machine.control("pool", "list", "--json").output }

  private func reload(_ daemon: RunningDaemon) {
    kill(daemon.process.processIdentifier, SIGHUP)
  }

  /// A client that holds a lease until it is killed.
  private func holder(_ size: String) throws -> Process {
    let holder = Process()
    holder.executableURL = URL(fileURLWithPath: Executable.genpoolctl)
    holder.arguments = ["lease", "acquire", "--size", size, "--hold"]
    holder.environment = ProcessInfo.processInfo.environment.merging(machine.environment) { $1 }
    holder.standardOutput = FileHandle.nullDevice
    holder.standardError = FileHandle.nullDevice
    try holder.start()
    try wait(for: "the lease") { try machine.control("lease", "list").output.contains("leased") }
    return holder
  }

  private func end(_ holder: Process) {
    holder.end()
  }

  @Test func `a correct file is checked and summed up`() throws {
    try write(pool(", \"size\": \"4M\""))
    let result = try check()
    #expect(result.status == 0 && result.errors.isEmpty)
    #expect(result.output.hasPrefix("\(file): correct\n"))
    #expect(result.output.contains("pool cmb: BAR 2 of \(machine.device), of 4 MiB"))
  }

  @Test func `the example that is installed is correct`() throws {
    let example = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appending(path: "../../systemd/genpoold.json").standardizedFileURL.path()
    let result = try Executable.run(
      Executable.genpoold, ["--config", example, "--check-config"])
    // Its devices are not on the machine that runs this.
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.errors.split(separator: "\n").allSatisfy { $0.hasPrefix("warning: ") })
  }

  @Test func `a correct file that this machine cannot serve is warned of`() throws {
    try write(pool(", \"size\": \"32M\""))
    let long = try check()
    #expect(long.status == 0 && long.output.hasPrefix("\(file): correct\n"))
    #expect(
      long.errors == "warning: pools[0] (cmb): 32 MiB passes the end of BAR 2 of "
        + "0000:01:00.0, which is 16 MiB long\n")
    try write("{\"pools\": [{\"device\": \"09:00.0\", \"bar\": 0}]}")
    let absent = try check()
    #expect(absent.status == 0 && absent.errors.contains("there is no such device now"))
    let elsewhere = try Executable.run(
      Executable.genpoold, ["--config", file, "--check-config", "--sysfs-root", "/nonexistent"])
    #expect(elsewhere.status == 0 && elsewhere.errors.hasPrefix("warning: pools: which of them"))
    try write("{\"adminGroup\": \"no-such-group\"}")
    let group = try check()
    #expect(group.status == 78 && group.errors.contains("there is no such group here"))
  }

  @Test func `every mistake is said with file and line, and nothing starts`() throws {
    try write("{\n  \"maxLeases\": 0,\n  \"pool\": []\n}")
    let result = try check()
    #expect(result.status == 78 && result.output.isEmpty)
    let lines = result.errors.split(separator: "\n")
    #expect(lines.count == 2)
    #expect(lines.first?.hasPrefix("\(file):2:16: maxLeases: 0 is not possible") == true)
    #expect(lines.last?.hasPrefix("\(file):3:3: pool: no such key") == true)
    let start = try Executable.run(
      Executable.genpoold, ["--config", file], environment: machine.environment)
    #expect(start.status == 78 && start.errors == result.errors)
  }

  @Test func `a file that is missing is a mistake`() throws {
    let result = try check()
    #expect(result.status == 78)
    #expect(result.errors == "\(file): No such file or directory\n")
  }

  @Test func `the configuration's pools are there when the daemon is ready`() throws {
    try write(pool(", \"size\": \"4M\", \"granule\": \"64K\", \"isolation\": \"cooperative\""))
    let daemon = try daemon()
    let pools = try pools()
    #expect(pools.contains("\"cmb\"") && pools.contains("4194304") && pools.contains("65536"))
    #expect(pools.contains("cooperative"))
    #expect(daemon.end() == 0)
  }

  @Test func `options override it`() throws {
    let elsewhere = machine.directory + "/run/elsewhere"
    try write("{\"socket\": \"/nonexistent/x\", \"logLevel\": \"critical\"}")
    let daemon = try RunningDaemon(
      machine, ["--config", file, "--socket", elsewhere, "--log-level", "debug"])
    try daemon.waitUntilReady(at: elsewhere)
    #expect(daemon.end() == 0)
    #expect(daemon.readLog().contains(" notice ready "))
  }

  @Test func `a device that is missing keeps nothing from starting`() throws {
    try write("{\"pools\": [{\"device\": \"09:00.0\", \"bar\": 0}]}")
    let daemon = try daemon()
    #expect(daemon.end() == 0)
    #expect(daemon.readLog().contains("wanted=\"BAR 0 of 0000:09:00.0\""))
  }

  @Test func `a search does not take a storage controller`() throws {
    let identity =
      try machine.attribute("vendor").trimmingCharacters(in: .whitespacesAndNewlines).dropFirst(2)
      + ":"
      + machine.attribute("device").trimmingCharacters(in: .whitespacesAndNewlines).dropFirst(2)
    try write("{\"pools\": [{\"device\": \"\(identity)\", \"bar\": 2}]}")
    let daemon = try daemon()
    #expect(try !pools().contains("0000:01:00.0/2"))
    #expect(daemon.end() == 0)
    #expect(daemon.readLog().contains("named-by-address"))
  }

  @Test func `a reload attaches, detaches and says what changed`() throws {
    try write("{}")
    let daemon = try daemon()
    let before = try machine.attribute("driver_override")
    try write(pool())
    reload(daemon)
    try wait(for: "the pool") { try pools().contains("cmb") }
    try write("{\"logLevel\": \"debug\", \"maxLeases\": 9, \"socket\": \"/x\"}")
    reload(daemon)
    try wait(for: "its end") { try !pools().contains("cmb") }
    #expect(try machine.attribute("driver_override") == before)
    #expect(daemon.end() == 0)
    let log = daemon.readLog()
    for line in [
      "notice reload change=\"pool cmb: added\"", "notice reload change=\"pool cmb: removed\"",
      "notice reload change=\"maxLeases: default -> 9\"",
      "warning reload change=\"socket: default -> /x\" then=\"needs a restart\"",
      "notice detach pid=\(daemon.process.processIdentifier) pool=cmb uid=\(geteuid())",
      "debug connect",
    ] { #expect(log.contains(line), "\(line)\n\(log)") }
  }

  @Test func `a reload warns before memory is erased, and counts what has changed`() throws {
    try write(pool(", \"size\": \"4M\""))
    let pipe = Pipe()
    let daemon = try RunningDaemon(
      machine, ["--config", file, "--log-level", "info"], log: pipe)
    try daemon.waitUntilReady(at: machine.socket)
    var log = ""
    func wait(reloads: Int) throws {
      reload(daemon)
      while log.components(separatedBy: " reloaded ").count <= reloads {
        let bytes = pipe.fileHandleForReading.availableData
        try #require(!bytes.isEmpty, "\(log)")
        log += String(decoding: bytes, as: UTF8.self)
      }
    }
    try wait(reloads: 1)
    try write(pool(", \"size\": \"8M\"").dropLast() + ", \"logLevel\": \"error\"}")
    try wait(reloads: 2)
    // An admin has taken it away: the file is the same, but memory is erased.
    #expect(try machine.control("pool", "detach", "cmb").status == 0)
    try wait(reloads: 3)
    try wait(reloads: 4)
    #expect(daemon.end() == 0)
    let counts = log.matches(of: /reloaded changes=(\d+)/).map { $0.1 }
    #expect(counts == ["0", "2", "1", "0"], "\(log)")
    #expect(log.contains("change=\"pool cmb: changed (size 4 MiB -> 8 MiB)\""))
    #expect(log.contains("change=\"logLevel: default -> error\" then=\"no effect: --log-level"))
    #expect(log.contains("change=\"pool cmb: attached, which it was not before\""))
    let lines = log.split(separator: "\n")
    let warnings = lines.indices.filter { lines[$0].contains(" warning erase pool=cmb ") }
    let attachments = lines.indices.filter { lines[$0].contains(" notice attach ") }
    #expect(warnings.count == 2 && attachments.count == 3, "\(log)")
    #expect(zip(warnings, attachments.dropFirst()).allSatisfy { $0 < $1 })
  }

  /// Reloads a daemon and returns its log when it has ended: after each of `steps` and a reload.
  private func log(afterEach steps: [() throws -> Void]) throws -> String {
    let pipe = Pipe()
    let daemon = try RunningDaemon(machine, ["--config", file, "--log-level", "info"], log: pipe)
    try daemon.waitUntilReady(at: machine.socket)
    var log = ""
    for (count, step) in steps.enumerated() {
      try step()
      reload(daemon)
      while log.components(separatedBy: " reloaded ").count <= count + 1 {
        let bytes = pipe.fileHandleForReading.availableData
        try #require(!bytes.isEmpty, "\(log)")
        log += String(decoding: bytes, as: UTF8.self)
      }
    }
    #expect(daemon.end() == 0)
    return log
  }

  private func counts(_ log: String) -> [String] {
    log.matches(of: /reloaded changes=(\d+)/).map { String($0.1) }
  }

  @Test func `a reload counts each change once, and no pool that only waits`() throws {
    try write(pool())
    var holder: MappingProcess?
    let log = try log(afterEach: [
      {
        // Changed, and not there: one line.
        #expect(try machine.control("pool", "detach", "cmb").status == 0)
        try write(pool(", \"size\": \"8M\""))
      },
      {
        #expect(try machine.control("pool", "detach", "cmb").status == 0)
        holder = try MappingProcess(
          "\(machine.directory)/bus/pci/devices/\(machine.device)/resource2")
      },
    ])
    #expect(counts(log) == ["1", "0"], "\(log)")
    #expect(!log.contains("attached, which it was not before"))
    #expect(log.contains(" warning waiting "))
    _ = holder
  }

  @Test func `a reload warns of no erasure that it does not bring`() throws {
    try write("{}")
    let taken = try log(afterEach: [
      {
        #expect(
          try machine.control("pool", "attach", "01:00.0:2,name=cmb,size=1M").status == 0)
        try write(pool())
      }
    ])
    #expect(!taken.contains(" warning erase "), "the name is another pool's: \(taken)")
  }

  @Test func `limits hold from the reload on`() throws {
    try write(pool())
    let daemon = try daemon()
    #expect(try machine.control("lease", "acquire", "--size", "4K", "--dump=16").status == 0)
    let holder = try holder("4K")
    try write(pool().dropLast() + ", \"maxLeases\": 1}")
    reload(daemon)
    try wait(for: "the limit") {
      try machine.control("lease", "acquire", "--size", "4K", "--dump=16").status == 75
    }
    end(holder)
    #expect(daemon.end() == 0)
  }

  @Test func `quotas hold from the reload on`() throws {
    try write(pool())
    let daemon = try daemon()
    #expect(try machine.control("lease", "acquire", "--size", "1M", "--dump=16").status == 0)
    // By number: root's entry counts, too.
    let quotas = "\"quotas\": {\"users\": {\"\(geteuid())\": {\"bytes\": \"64K\"}}}"
    try write(pool().dropLast() + ", " + quotas + "}")
    reload(daemon)
    try wait(for: "the quota") {
      try machine.control("lease", "acquire", "--size", "1M", "--dump=16").status != 0
    }
    let never = try machine.control("lease", "acquire", "--size", "1M", "--dump=16")
    #expect(never.status == 1 && never.errors.contains("this user's quota is 64 KiB in all"))
    #expect(try machine.control("lease", "acquire", "--size", "64K", "--dump=16").status == 0)
    try write(
      pool().dropLast() + ", " + quotas.replacing("bytes\": \"64K\"", with: "connections\": 0")
        + "}")
    reload(daemon)
    try wait(for: "no connection") {
      let none = try machine.control("pool", "list")
      return none.status == 1 && none.errors.contains("this user may have no connections")
    }
    #expect(daemon.end() == 0)
    #expect(daemon.readLog().contains("default -> bytes=64 KiB"))
  }

  @Test func `a broken file leaves everything as it is`() throws {
    try write(pool())
    let daemon = try daemon()
    try write("{\"pools\": [],\n\"maxLeases\": 0}")
    reload(daemon)
    try write("nonsense")
    reload(daemon)
    usleep(300_000)
    #expect(try pools().contains("cmb"))
    try write("{}")
    reload(daemon)
    try wait(for: "the pool's end") { try !pools().contains("cmb") }
    #expect(daemon.end() == 0)
    let log = daemon.readLog()
    #expect(log.contains("error reload refused problems=1 then=\"the old configuration holds\""))
    #expect(log.contains("cause=\"\(file):"))
  }

  @Test func `a pool that is in use is drained, and changed once it is idle`() throws {
    try write(pool())
    let daemon = try daemon()
    let holder = try holder("4K")
    try write(pool(", \"size\": \"1M\""))
    reload(daemon)
    try wait(for: "no more leases") {
      try machine.control("lease", "acquire", "--size", "4K", "--dump=16").status != 0
    }
    #expect(try machine.control("lease", "list").output.contains("leased"))
    #expect(try machine.control("pool", "list").output.contains(" draining\n"))
    #expect(try pools().contains("\"draining\""))
    end(holder)
    try wait(for: "the new pool") { try pools().contains("1048576") }
    #expect(daemon.end() == 0)
    let log = daemon.readLog()
    #expect(log.contains("notice drain cause=") && !log.contains(" error "), "\(log)")
    #expect(log.contains("notice detach cause=\"the broker ends\" leases=0 "))
    #expect(log.contains("notice reclaim ") && log.contains("notice lease "))
  }

  @Test func `a pool that is wanted again is kept`() throws {
    try write(pool())
    let daemon = try daemon()
    let holder = try holder("4K")
    try write("{}")
    reload(daemon)
    try wait(for: "no more leases") {
      try machine.control("lease", "acquire", "--size", "4K", "--dump=16").status != 0
    }
    try write(pool())
    reload(daemon)
    try wait(for: "leases") {
      try machine.control("lease", "acquire", "--size", "4K", "--dump=16").status == 0
    }
    end(holder)
    #expect(daemon.end() == 0)
  }

  @Test func `pools of the command line are not the configuration's`() throws {
    try write("{}")
    let daemon = try daemon("--attach", "\(machine.device):2,name=mine")
    reload(daemon)
    usleep(300_000)
    #expect(try pools().contains("mine"))
    #expect(daemon.end() == 0)
  }
}
