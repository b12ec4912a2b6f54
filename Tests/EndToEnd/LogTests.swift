import BrokerProtocol
import Foundation
import GenPool
import GenPoolClient
import LinuxSystem
import TestSupport
import Testing

/// The daemon's standard error, whose reader may stall or be a full disk.
@Suite(.serialized) struct LogTests {
  private let machine: EmulatedMachine

  init() throws { machine = try EmulatedMachine() }

  /// A pipe that is full: nothing of a line goes in.
  private func fullPipe() throws -> Pipe {
    let pipe = Pipe()
    let end = pipe.fileHandleForWriting.fileDescriptor
    let flags = fcntl(end, F_GETFL)
    try #require(fcntl(end, F_SETFL, flags | O_NONBLOCK) == 0)
    var byte = UInt8(ascii: "\n")
    while unsafe write(end, &byte, 1) == 1 {}
    try #require(fcntl(end, F_SETFL, flags) == 0)
    return pipe
  }

  /// Whether the daemon answers within ten seconds.
  private func answers() throws -> Bool {
    let deadline = ContinuousClock.now + .seconds(10)
    repeat {
      if let client = try? Connection(to: BrokerSocket(path: machine.socket), timeout: .seconds(5)),
        (try? client.hello()) != nil
      {
        return true
      }
      usleep(20_000)
    } while .now < deadline
    return false
  }

  @Test func `a daemon whose log is not read answers, and the log has what is missing`() throws {
    let configuration = machine.directory + "/genpoold.json"
    try "{}".write(toFile: configuration, atomically: false, encoding: .utf8)
    let log = try fullPipe()
    let daemon = try RunningDaemon(machine, ["--config", configuration], log: log)
    try #require(try answers())
    // A mistake is a line: more of them than may wait.
    let mistakes = (0..<20_000).map { "\"unknown\($0)\": 0" }.joined(separator: ",\n")
    try "{\(mistakes)}".write(toFile: configuration, atomically: false, encoding: .utf8)
    kill(daemon.process.processIdentifier, SIGHUP)
    for _ in 0..<20 {
      #expect(try answers())
      usleep(50_000)
    }
    let text = try read(log.fileHandleForReading) { $0.contains(" lines dropped cause=") }
    let lines = text.split(separator: "\n")
    #expect(lines.first?.contains("listen socket=") == true)
    let report = try #require(lines.first { $0.contains(" lines dropped cause=") })
    let words = report.split(separator: " ")
    let dropped = try #require(words.count > 2 ? Int(words[2]) : nil)
    let written = lines.count { $0.contains("invalid configuration") }
    #expect(words[1] == "warning" && dropped > 0 && dropped + written >= 20_000, "\(report)")
    #expect(daemon.end() == 0)
    #expect(daemon.readLog().contains("stopped"))
  }

  private func read(_ file: FileHandle, until isEnough: (String) -> Bool) throws -> String {
    var text = ""
    while !isEnough(text) {
      var request = pollfd(fd: file.fileDescriptor, events: Int16(POLLIN), revents: 0)
      try #require(unsafe poll(&request, 1, 10_000) == 1, "nothing more comes")
      let piece = file.availableData
      try #require(!piece.isEmpty)
      text += String(decoding: piece, as: UTF8.self)
    }
    return text
  }

  @Test func `a log that is not read does not keep the daemon from its end`() throws {
    let log = try fullPipe()
    let daemon = try RunningDaemon(machine, [], log: log)
    try #require(try answers())
    let start = ContinuousClock.now
    #expect(daemon.end() == 0)
    #expect(ContinuousClock.now - start < .seconds(10))
    let failing = try RunningDaemon(
      machine, ["--attach", "0000:09:00.0:2"], log: fullPipe())
    failing.process.waitUntilExit()
    #expect(failing.process.terminationStatus == 1)
    #expect(ContinuousClock.now - start < .seconds(20))
  }

  @Test func `a full disk under the log does the daemon no harm`() throws {
    let daemon = try RunningDaemon(
      machine,
      [
        "-c", #"exec "$@" 2> /dev/full"#, "sh", Executable.genpoold, "--attach",
        "\(machine.device):2,name=cmb",
      ], path: "/bin/sh")
    #expect(try answers())
    let client = try Connection(to: BrokerSocket(path: machine.socket))
    try client.acquire(.kibibytes(4)).release()
    #expect(daemon.end() == 0)
  }
}
