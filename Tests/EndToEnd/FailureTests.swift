import Foundation
import TestSupport
import Testing

/// What genpoolctl answers when a command line or a call fails.
@Suite struct FailureTests {
  private struct Document: Decodable {
    let error: Content

    struct Content: Decodable {
      let message: String
      let name: String
      let status: Int32
      let errno: Int32?
      let refusals: [Refusal]?
    }

    struct Refusal: Decodable {
      let rule: String
    }
  }

  private func failure(_ result: Executable.Result) throws -> Document.Content {
    let line = try #require(result.errors.split(separator: "\n").last)
    let content = try JSONDecoder().decode(Document.self, from: Data(line.utf8)).error
    #expect(content.status == result.status)
    return content
  }

  @Test(
    arguments: [
      (["pool", "ls"], ["pool list"]), (["devices"], ["device list"]),
      (["emulate", "list"], ["device list"]), (["emulate", "rm", "/x"], ["emulate remove"]),
      (["list", "devices"], ["device list"]), (["status"], ["doctor"]),
      (["atach"], ["pool attach"]), (["lease", "rm", "1234"], ["lease release"]),
      (["alloc"], ["lease acquire"]), (["nvme", "list"], ["device list"]),
      (["list"], ["device list", "pool list", "lease list"]),
    ] as [([String], [String])])
  func `a command that does not exist is answered with one that does`(
    typed: [String], meant: [String]
  ) throws {
    let result = try Executable.run(Executable.genpoolctl, typed)
    #expect(result.status == 64 && result.output.isEmpty)
    for command in meant {
      #expect(result.errors.contains("`genpoolctl \(command)`"), "\(result.errors)")
      let help = try Executable.run(
        Executable.genpoolctl, command.split(separator: " ").map(String.init) + ["--help"])
      #expect(help.status == 0 && help.output.contains("USAGE: genpoolctl \(command)"))
    }
    let document = try failure(Executable.run(Executable.genpoolctl, typed + ["--json"]))
    #expect(document.name == "usage" && document.message.contains(meant[0]))
  }

  @Test func `a word that resembles no command, and a command's argument, are left alone`() throws {
    let nonsense = try Executable.run(Executable.genpoolctl, ["frobnicate"])
    #expect(nonsense.status == 64 && nonsense.errors.contains("frobnicate"))
    #expect(!nonsense.errors.contains("try"))
    // A directory may be called so.
    let directory = try EmulatedMachine().directory + "-other"
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let made = try Executable.run(
      Executable.genpoolctl, ["emulate", directory, "--device", "nvme,cmb=1M"])
    #expect(made.status == 0)
  }

  @Test func `with --json a failure is one line of JSON on standard error, with a stable name`()
    throws
  {
    let machine = try EmulatedMachine("nvme,cmb=16M,driver=nvme")
    let missing = try machine.control("device", "show", "--json", "09:00.0")
    #expect(missing.status == 1 && missing.output.isEmpty)
    #expect(try failure(missing).name == "no-such-device")
    #expect(try failure(missing).errno == ENODEV)
    let daemon = try machine.control("pool", "list", "--json")
    #expect(daemon.status == 69)
    #expect(try failure(daemon).name == "no-daemon")
    let usage = try machine.control("device", "list", "--json", "--colour")
    #expect(usage.status == 64)
    #expect(try failure(usage).name == "usage" && failure(usage).message.contains("--colour"))
    let refused = try machine.control("device", "unbind", "--json", "01:00.0")
    #expect(refused.status == 1 && refused.output.contains("not-bound"))
    #expect(try failure(refused).name == "refused")
    // Another program's option is not this one's.
    let other = try machine.control("lease", "acquire", "--size", "1M", "--", "ls", "--json")
    #expect(other.status == 69 && other.errors.hasPrefix("genpoolctl: "))
  }

  @Test func `a daemon's error has the daemon's name for it, and the rules that refused`() throws {
    let machine = try PoolMachine()
    let pool = try machine.control("pool", "show", "--json", "absent")
    #expect(pool.status == 1)
    #expect(try failure(pool).name == "io.genpool.Broker1.NoSuchPool")
    let refused = try machine.control("pool", "attach", "--json", "01:00.0:0")
    #expect(try failure(refused).name == "io.genpool.Broker1.DeviceRefused")
    #expect(try failure(refused).refusals?.map(\.rule) == ["registers"])
    let full = try machine.control("lease", "acquire", "--json", "--size", "1T")
    #expect(try failure(full).name == "io.genpool.Broker1.PoolTooSmall")
  }
}
