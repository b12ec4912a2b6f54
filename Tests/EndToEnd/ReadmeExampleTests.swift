import Foundation
import TestSupport
import Testing

/// The README's programs: built with these tests, and the same word for word.
@Suite(.serialized) struct ReadmeExampleTests {
  @Test(arguments: ["library", "client", "events"])
  func `what the README shows is what is compiled`(name: String) throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    let readme = try String(contentsOf: root.appending(path: "README.md"), encoding: .utf8)
    let program = try String(
      contentsOf: root.appending(path: "Tests/Readme/\(name)/main.swift"), encoding: .utf8)
    #expect(readme.contains("```swift\n\(program)```\n"))
  }

  @Test func `the library's program makes a queue in an emulated device`() throws {
    let machine = try EmulatedMachine("nvme,cmb=64M")
    let result = try Executable.run(
      Executable.readmeLibrary, [], environment: machine.environment)
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.output.wholeMatch(of: /CPU 0x[0-9a-f]{16}, device 0x[0-9a-f]{12}0000\n/) != nil)
  }

  @Test func `the program that watches devices sees one pulled out`() throws {
    let machine = try EmulatedMachine()
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: Executable.readmeEvents)
    process.environment = ProcessInfo.processInfo.environment.merging(machine.environment) { $1 }
    // Each line at once.
    process.executableURL = URL(fileURLWithPath: "/usr/bin/stdbuf")
    process.arguments = ["-oL", Executable.readmeEvents]
    process.standardOutput = output
    try process.start()
    var text = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
    #expect(text == "1 devices\n")
    #expect(
      try machine.control("emulate", "remove", machine.directory, machine.device).status == 0)
    text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    #expect(text.contains("removed(0000:01:00.0)"), "\(text)")
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
  }

  @Test func `the client's program leases from a daemon`() throws {
    let machine = try PoolMachine()
    let result = try Executable.run(
      Executable.readmeClient, [], environment: machine.machine.environment)
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.output.wholeMatch(of: /pool cmb, device 0x[0-9a-f]{12}0000\n/) != nil)
    try machine.waitUntilClean()
  }

  @Test func `a program whose device is missing says so, and does not crash`() throws {
    let machine = try EmulatedMachine("nvme,cmb=64M,address=0000:05:00.0")
    for program in [Executable.readmeLibrary, Executable.readmeClient] {
      let result = try Executable.run(program, [], environment: machine.environment)
      #expect(result.status == 1 && !result.output.isEmpty, "\(result)")
      #expect(!result.errors.contains("Fatal error"), "\(result.errors)")
    }
  }

  @Test func `the job for CI that the README shows runs as it stands`() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    let readme = try String(contentsOf: root.appending(path: "README.md"), encoding: .utf8)
    let start = try #require(readme.range(of: "plain shell:\n```sh\n"))
    let rest = readme[start.upperBound...]
    let job = String(rest[..<(try #require(rest.range(of: "```\n"))).lowerBound])
    let result = try Executable.run(
      "/bin/sh", ["-c", job], environment: ["PATH": Executable.searchPath])
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.output.contains("pool cmb: yes\n") && result.output.contains("a5 a5 a5 a5"))
    let failing = try Executable.run(
      "/bin/sh", ["-c", job], environment: ["PATH": Executable.searchPath, "TESTS": "false"])
    #expect(failing.status == 1, "tests that fail end the job")
  }
}
