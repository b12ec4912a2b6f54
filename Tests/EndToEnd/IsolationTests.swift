import Foundation
import Glibc
import TestSupport
import Testing

/// Two users and one device: memory that another process maps is neither erased nor leased.
@Suite(.serialized) struct IsolationTests {
  /// A process that maps a file and has written to it; ended with this object. Not this process: its mappings
  /// are copied into whatever another test forks.
  private final class MappingProcess {
    static let text = "another process's data"
    private let process = Process()
    private let input = Pipe()
    private let output = Pipe()

    init(_ path: String) throws {
      process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
      process.arguments = [
        "python3", "-c",
        """
        import mmap, sys
        text = sys.argv[2].encode()
        with open(sys.argv[1], "r+b") as file:
            memory = mmap.mmap(file.fileno(), 4096)
        memory[:len(text)] = text
        print("mapped", flush=True)
        sys.stdin.read()
        print(memory[:len(text)].decode(), flush=True)
        """, path, Self.text,
      ]
      process.standardInput = input
      process.standardOutput = output
      try process.run()
      // The line may come in pieces.
      var line = ""
      while !line.hasSuffix("\n") {
        let piece = output.fileHandleForReading.availableData
        try #require(!piece.isEmpty, "the file can be mapped")
        line += String(decoding: piece, as: UTF8.self)
      }
    }

    deinit { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }

    /// Ends it, and returns what it read of its text then.
    func end() throws -> String {
      try input.fileHandleForWriting.close()
      let text = output.fileHandleForReading.readDataToEndOfFile()
      process.waitUntilExit()
      return String(decoding: text, as: UTF8.self)
    }
  }

  @Test(arguments: ["", "/dev/shm"])
  func `an emulated BAR that a process maps is not attached, nor erased`(place: String) throws {
    let machine = try place.isEmpty ? EmulatedMachine() : EmulatedMachine(below: place)
    let file = "\(machine.directory)/bus/pci/devices/\(machine.device)/resource2"
    let holder = try MappingProcess(file)
    let attach = ["--attach", "\(machine.device):2,name=cmb"]
    let refused = try Executable.run(
      Executable.genpoold, attach, environment: machine.environment)
    #expect(refused.status == 1)
    #expect(refused.errors.contains("still maps memory of it"))
    #expect(try holder.end() == MappingProcess.text + "\n")
    let daemon = try RunningDaemon(machine, attach)
    try daemon.waitUntilReady(at: machine.socket)
    #expect(daemon.end() == 0)
  }

  @Test func `a pool shows what decides when another user may lease`() throws {
    let machine = try EmulatedMachine()
    let daemon = try RunningDaemon(machine, ["--attach", "\(machine.device):2,name=cmb"])
    try daemon.waitUntilReady(at: machine.socket)
    let shown = try machine.control("pool", "show", "cmb")
    #expect(shown.output.contains("next user   when the kernel sees that no process reaches"))
    #expect(shown.fitsTerminal)
    let document = try machine.control("pool", "show", "cmb", "--json").output
    #expect(document.contains("\"witness\" : \"file-lease\""))
    #expect(document.contains("\"reach\" : \"free\""))
    let device = try machine.control("device", "show", machine.device)
    #expect(device.output.contains("one user at a time") && device.fitsTerminal)
    #expect(
      try machine.control("device", "show", machine.device, "--json").keys.contains("witness"))
    _ = daemon.end()
  }

  @Test(.enabled(if: getuid() == 0, "only root can be another user, and mount"))
  func `where the file system cannot tell, memory stays with its user, across runs`() throws {
    let overlay = try OverlayMachine()
    let attach = ["--attach", "0000:01:00.0:2,name=cmb"]
    let first = try overlay.daemon(attach)
    let shown = try overlay.control("pool", "show", "cmb", "--json").output
    #expect(shown.contains("\"none\""))
    func lease(uid: Int?) throws -> Executable.Result {
      try overlay.control(
        uid: uid, "lease", "acquire", "--pool", "cmb", "--size", "4K", "--fill", "1")
    }
    #expect(try lease(uid: 1001).status == 0)
    let refused = try lease(uid: 1002)
    #expect(refused.status == 75 && refused.errors.contains("cannot be seen"))
    #expect(try lease(uid: 1001).status == 0, "its user goes on")
    #expect(try overlay.control("pool", "show", "cmb").output.contains("uid 1001"))

    first.end()
    let again = try overlay.refusedDaemon(attach)
    #expect(again.status == 1 && again.errors.contains("an earlier run"))
    let second = try overlay.daemon([])
    let plain = try overlay.control("pool", "attach", "0000:01:00.0:2,name=cmb")
    #expect(plain.status != 0 && plain.errors.contains("--force"))
    let forced = try overlay.control("pool", "attach", "0000:01:00.0:2,name=cmb", "--force")
    #expect(forced.status == 0 && forced.errors.contains("cannot be seen"))
    #expect(try lease(uid: 1002).status == 0)

    let detached = try overlay.control("pool", "detach", "cmb")
    #expect(detached.status == 0 && detached.errors.contains("warning: it cannot be seen"))
    #expect(try overlay.control("pool", "attach", "0000:01:00.0:2,name=cmb").status == 0)
    #expect(try lease(uid: 1001).status == 0)

    second.end(SIGTERM)
    let third = try overlay.daemon(attach)
    #expect(try lease(uid: 1002).status == 75, "an end in order does not make it free")
    #expect(try lease(uid: 1001).status == 0)
    third.end(SIGTERM)
  }
}
