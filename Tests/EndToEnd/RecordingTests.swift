import Foundation
import GenPool
import TestSupport
import Testing

/// genpoold that records its pools, and `genpool-bench replay`, which plays the files again.
@Suite(.serialized) struct RecordingTests {
  private let machine: EmulatedMachine
  private var directory: String { machine.directory + "/records" }

  init() throws {
    machine = try EmulatedMachine("nvme,cmb=1M")
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
  }

  private var attach: [String] { ["--attach", "\(machine.device):2,name=cmb"] }

  private func files() throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: directory).sorted().map {
      directory + "/" + $0
    }
  }

  private func acquire(_ arguments: String...) throws -> Int32 {
    try Executable.run(
      Executable.genpoolctl, ["lease", "acquire", "--dump=16", "--size"] + arguments,
      environment: machine.environment
    ).status
  }

  /// Plays all files again: how many records there are.
  private func replay() throws -> Int {
    let result = try Executable.run(Executable.genpoolBench, ["replay"] + files())
    #expect(result.status == 0 && result.errors.isEmpty, "\(result.output)\(result.errors)")
    let line = try #require(result.output.split(separator: "\n").last)
    let match = try #require(line.wholeMatch(of: /(\d+) records, 0 mismatches/), "\(line)")
    return Int(match.1) ?? 0
  }

  @Test func `leases, frees and failures are played again exactly`() throws {
    let daemon = try RunningDaemon(machine, ["--record", directory] + attach)
    try daemon.waitUntilReady(at: machine.socket)
    #expect(try acquire("64K", "--align", "64K") == 0)
    #expect(try acquire("100K", "--fit", "best") == 0)
    #expect(try acquire("4K", "--fit", "fixed", "--offset", "512K") == 0)
    // Fragmented, then full.
    let holder = Process()
    holder.executableURL = URL(fileURLWithPath: Executable.genpoolctl)
    holder.arguments = [
      "lease", "acquire", "--size", "4K", "--fit", "fixed", "--offset", "512K", "--hold",
    ]
    holder.environment = ProcessInfo.processInfo.environment.merging(machine.environment) { $1 }
    holder.standardOutput = FileHandle.nullDevice
    try holder.start()
    try wait(for: "the lease") { try machine.control("lease", "list").output.contains("leased") }
    #expect(try acquire("600K") == 75)
    #expect(try acquire("1M") == 75)
    // Its memory comes free when the daemon notices its death.
    holder.end()
    #expect(try acquire("1M") == 0)
    let shown = try machine.control("pool", "show", "cmb").output
    #expect(shown.contains("failed      1 full, 1 fragmented\n"), "\(shown)")
    #expect(daemon.end() == 0)

    let file = try #require(try files().first)
    let text = try String(contentsOfFile: file, encoding: .utf8)
    // The hundreds of KiB were refused by the pool itself.
    #expect(text.contains(" 96000 ff = 0 0\n") && text.contains(" 100000 ff = 0 0\n"), "\(text)")
    #expect(try replay() == text.split(separator: "\n").count - 1)
    #expect(daemon.readLog().contains("notice record file=\(file) pool=cmb"))
  }

  @Test func `a reload begins and ends a record of pools that are in use`() throws {
    let configuration = machine.directory + "/genpoold.json"
    func write(_ text: String) throws {
      try text.write(toFile: configuration, atomically: true, encoding: .utf8)
    }
    try write("{}")
    let daemon = try RunningDaemon(machine, ["--config", configuration] + attach)
    try daemon.waitUntilReady(at: machine.socket)
    #expect(try acquire("4K") == 0)
    try write("{\"record\": \"\(directory)\"}")
    kill(daemon.process.processIdentifier, SIGHUP)
    try wait(for: "the record") { try !files().isEmpty }
    #expect(try acquire("8K") == 0)
    try write("{}")
    kill(daemon.process.processIdentifier, SIGHUP)
    try wait(for: "its end") {
      let before = try files().map { try String(contentsOfFile: $0, encoding: .utf8) }
      _ = try acquire("12K")
      return try files().map { try String(contentsOfFile: $0, encoding: .utf8) } == before
    }
    #expect(daemon.end() == 0)
    #expect(try replay() >= 5)
    let log = daemon.readLog()
    #expect(log.contains(/notice record ends file=\S+ lines=\d+ pool=cmb/), "\(log)")
    #expect(log.contains("notice reload change=\"record: nowhere -> \(directory)\""), "\(log)")
  }

  @Test func `a daemon whose record has no more room goes on, and what is there is whole`() throws {
    // As on a full disk; no file of this process may be longer than a block or two.
    let daemon = try RunningDaemon(
      machine,
      ["-c", "ulimit -f 1 && exec \"$@\"", "sh", Executable.genpoold, "--record", directory]
        + attach, path: "/bin/sh")
    try daemon.waitUntilReady(at: machine.socket)
    for _ in 0..<20 { #expect(try acquire("64K") == 0) }
    #expect(daemon.end() == 0)
    let file = try #require(try files().first)
    let text = try String(contentsOfFile: file, encoding: .utf8)
    #expect(text.hasSuffix("\n") && text.utf8.count > 400)
    #expect(try replay() > 5)
    let ends = daemon.readLog().split(separator: "\n").filter { $0.contains("record ends") }
    #expect(ends.count == 1)
    #expect(ends.first?.contains("file too large") == true)
    #expect(ends.first?.contains("then=\"the pool goes on\"") == true)
  }

  @Test func `a directory that a file names and that is not there keeps nothing from starting`()
    throws
  {
    let configuration = machine.directory + "/genpoold.json"
    try "{\"record\": \"\(directory)/none\"}".write(
      toFile: configuration, atomically: true, encoding: .utf8)
    let checked = try Executable.run(
      Executable.genpoold, ["--config", configuration, "--check-config"])
    #expect(checked.status == 0 && checked.output.contains("record: \(directory)/none\n"))
    #expect(
      checked.errors.hasPrefix(
        "warning: record pools in \(directory)/none: no such file or directory"))

    let daemon = try RunningDaemon(machine, ["--config", configuration] + attach)
    try daemon.waitUntilReady(at: machine.socket)
    #expect(try acquire("4K") == 0)
    let shown = try machine.control("pool", "show", "cmb").output
    #expect(shown.contains("recorded    no: create \(directory)/none/cmb-"), "\(shown)")
    // The cure that the log names.
    try FileManager.default.createDirectory(
      atPath: directory + "/none", withIntermediateDirectories: true)
    kill(daemon.process.processIdentifier, SIGHUP)
    try wait(for: "the record") {
      try machine.control("pool", "show", "cmb").output
        .contains("recorded    in \(directory)/none/cmb-")
    }
    #expect(daemon.end() == 0)
    let log = daemon.readLog()
    #expect(log.contains("cause=\"create \(directory)/none/cmb-"))
    #expect(log.contains("cure=\"make room in a directory that genpoold may write to, then reload"))
  }

  @Test func `a directory that the command line names and that cannot be used ends the start`()
    throws
  {
    try "".write(toFile: directory + "/file", atomically: true, encoding: .utf8)
    let cases = [("none", "no such file or directory"), ("file", "not a directory")]
    for (name, cause) in cases {
      let result = try Executable.run(
        Executable.genpoold, ["--record", "\(directory)/\(name)"] + attach,
        environment: machine.environment)
      #expect(result.status == 1)
      #expect(
        result.errors.contains(
          "genpoold: record pools in \(directory)/\(name): \(cause) (--record names it: make it"),
        "\(result.errors)")
    }
    let nameless = try Executable.run(
      Executable.genpoold, ["--record", ""] + attach, environment: machine.environment)
    #expect(nameless.status == 64)
  }

  @Test func `a relative directory counts from where the daemon starts`() throws {
    let daemon = try RunningDaemon(
      machine,
      ["-c", "cd \"$1\" && shift && exec \"$@\"", "sh", machine.directory, Executable.genpoold]
        + ["--record", "records"] + attach, path: "/bin/sh")
    try daemon.waitUntilReady(at: machine.socket)
    #expect(daemon.end() == 0)
    let file = try #require(try files().first)
    #expect(daemon.readLog().contains("notice record file=\(file) pool=cmb"))
  }

  @Test func `what the command line says holds, whatever a reload changes`() throws {
    let configuration = machine.directory + "/genpoold.json"
    try "{}".write(toFile: configuration, atomically: true, encoding: .utf8)
    let daemon = try RunningDaemon(
      machine, ["--config", configuration, "--record", directory] + attach)
    try daemon.waitUntilReady(at: machine.socket)
    try "{\"record\": \"/elsewhere\"}".write(
      toFile: configuration, atomically: true, encoding: .utf8)
    kill(daemon.process.processIdentifier, SIGHUP)
    // The lower signal is taken first.
    #expect(daemon.end() == 0)
    #expect(daemon.readLog().contains("no effect: --record overrides it"))
    #expect(try files().count == 1)
  }

  @Test func `a disk that is full from the start leaves no file`() throws {
    let configuration = machine.directory + "/genpoold.json"
    try "{}".write(toFile: configuration, atomically: true, encoding: .utf8)
    let daemon = try RunningDaemon(machine, ["--config", configuration] + attach)
    try daemon.waitUntilReady(at: machine.socket)
    let process = daemon.process.processIdentifier
    func limitFiles(to size: String) throws {
      let result = try Executable.run(
        "/usr/bin/prlimit", ["--pid", "\(process)", "--fsize=\(size):unlimited"])
      #expect(result.status == 0, "\(result.errors)")
    }
    try limitFiles(to: "0")
    try "{\"record\": \"\(directory)\"}".write(
      toFile: configuration, atomically: true, encoding: .utf8)
    kill(process, SIGHUP)
    try wait(for: "the refusal") {
      try machine.control("pool", "show", "cmb").output
        .contains("recorded    no: write \(directory)/cmb-")
    }
    #expect(try files().isEmpty)
    #expect(try acquire("4K") == 0)
    try limitFiles(to: "unlimited")
    #expect(daemon.end() == 0)
  }
}
