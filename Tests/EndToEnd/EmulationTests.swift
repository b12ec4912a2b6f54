import Foundation
import TestSupport
import Testing

/// `genpoolctl emulate`: trees that go with their command, drivers, and removal.
@Suite struct EmulationTests {
  /// A directory for private trees, removed in the end.
  private final class Place {
    let path: String

    init() throws {
      path = FileManager.default.temporaryDirectory.appending(
        path: "emulation-\(UUID().uuidString)"
      )
      .path()
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    var environment: [String: String] {
      ["PATH": Executable.searchPath, "TMPDIR": path, "XDG_RUNTIME_DIR": ""]
    }

    var entries: [String] {
      (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? ["unreadable"]
    }

    func control(_ arguments: String...) throws -> Executable.Result {
      try Executable.run(Executable.genpoolctl, arguments, environment: environment)
    }

    /// A genpoolctl that runs a command in a tree, which has printed its number.
    func start(_ command: String, after first: String = ":") throws -> (
      process: Process, child: Int32
    ) {
      let process = Process()
      let output = Pipe()
      process.executableURL = URL(fileURLWithPath: Executable.genpoolctl)
      process.arguments = [
        "emulate", "--ephemeral", "--device", "nvme,cmb=1M", "--", "sh", "-c",
        "\(first); echo $$; \(command)",
      ]
      process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
      process.standardOutput = output
      process.standardError = FileHandle.nullDevice
      process.standardInput = FileHandle.nullDevice
      try process.start()
      let line = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
      let child = try #require(Int32(line.trimmingCharacters(in: .whitespacesAndNewlines)))
      return (process, child)
    }
  }

  @Test func `a tree goes with its command, whose exit status is passed on`() throws {
    let place = try Place()
    let result = try place.control(
      "emulate", "--ephemeral", "--device", "nvme,cmb=1M", "--", "sh", "-c",
      "genpoolctl device list; ls -d \"$GENPOOL_SYSFS_ROOT\" && touch \"$GENPOOL_SOCKET\"; exit 7")
    #expect(result.status == 7, "\(result.errors)")
    #expect(result.output.contains("0000:01:00.0") && result.output.contains("/genpool-"))
    #expect(place.entries.isEmpty, "\(place.entries)")
    let killed = try place.control(
      "emulate", "--ephemeral", "--device", "nvme,cmb=1M", "--", "sh", "-c", "kill -9 $$")
    #expect(killed.status == 137)
    let missing = try place.control(
      "emulate", "--ephemeral", "--device", "nvme,cmb=1M", "--", "/nonexistent/program")
    #expect(missing.status == 127 && missing.errors.contains("run /nonexistent/program: "))
    #expect(place.entries.isEmpty, "\(place.entries)")
    let named = try place.control(
      "emulate", place.path + "/tree", "--ephemeral", "--device", "nvme,cmb=1M", "--", "true")
    #expect(named.status == 0 && place.entries.isEmpty, "\(named.errors)")
  }

  @Test(arguments: [SIGTERM, SIGHUP, SIGINT])
  func `a signal ends the command, and the tree with it`(signal: Int32) throws {
    let place = try Place()
    let (process, _) = try place.start(
      "while :; do sleep 0.05; done", after: "trap 'exit 3' TERM HUP INT")
    #expect(place.entries.count == 1)
    kill(process.processIdentifier, signal)
    process.waitUntilExit()
    #expect(process.terminationStatus == 3)
    #expect(place.entries.isEmpty, "\(place.entries)")
  }

  @Test
  func
    `a tree whose genpoolctl was killed is removed by the next one, not before its command has ended`()
    throws
  {
    let place = try Place()
    let (process, child) = try place.start("exec sleep 1000")
    // Alone: its group has the command in it.
    kill(process.processIdentifier, SIGKILL)
    try wait(for: "its end") {
      let stat = try? String(
        contentsOfFile: "/proc/\(process.processIdentifier)/stat", encoding: .utf8)
      return stat?.contains(") Z ") ?? true
    }
    func clear() throws {
      let next = try place.control(
        "emulate", "--ephemeral", "--device", "nvme,cmb=1M", "--", "true")
      #expect(next.status == 0, "\(next.errors)")
    }
    try clear()
    #expect(place.entries.count == 1, "the command still uses it")
    kill(child, SIGKILL)
    try wait(for: "the tree's end") {
      try clear()
      return place.entries.isEmpty
    }
    process.end()
  }

  @Test func `a tree of a shell is removed when nothing of its session is left`() throws {
    let place = try Place()
    let line = "eval \"$(genpoolctl emulate --ephemeral --device nvme,cmb=1M)\"; "
    func shell(_ program: String, _ arguments: String...) throws {
      let result = try Executable.run(program, arguments, environment: place.environment)
      #expect(result.status == 0, "\(result.errors)")
    }
    // Its own session lives on.
    try shell("/bin/sh", "-c", line + "genpoolctl device list")
    #expect(place.entries.count == 1)
    try shell("/bin/sh", "-c", line)
    #expect(place.entries.count == 2)
    try shell("/usr/bin/setsid", "--wait", "/bin/sh", "-c", line + "genpoolctl device list")
    #expect(place.entries.count == 3)
    try shell("/bin/sh", "-c", line)
    #expect(place.entries.count == 3, "that of the ended session is gone, the new one is there")
  }

  @Test func `a tree in whose place a link is by the end is left, and where it leads`() throws {
    let place = try Place()
    let victim = place.path + "/victim"
    try FileManager.default.createDirectory(
      atPath: victim + "/bus/kept", withIntermediateDirectories: true)
    let result = try place.control(
      "emulate", place.path + "/tree", "--ephemeral", "--device", "nvme,cmb=1M", "--", "sh", "-c",
      "mv \"$GENPOOL_SYSFS_ROOT\" \"$0/moved\" && ln -s \"$0/victim\" \"$GENPOOL_SYSFS_ROOT\"",
      place.path)
    #expect(result.status == 0, "\(result.errors)")
    #expect(FileManager.default.fileExists(atPath: victim + "/bus/kept"))
    // The same by another directory, which has no tree.
    let other = try place.control(
      "emulate", place.path + "/second", "--ephemeral", "--device", "nvme,cmb=1M", "--", "sh",
      "-c", "mv \"$GENPOOL_SYSFS_ROOT\" \"$0/gone\" && mv \"$0/victim\" \"$GENPOOL_SYSFS_ROOT\"",
      place.path)
    #expect(other.status == 0, "\(other.errors)")
    #expect(FileManager.default.fileExists(atPath: place.path + "/second/bus/kept"))
  }

  @Test func `what lies in the place of a tree's sockets before is left`() throws {
    let place = try Place()
    for name in ["/tree.socket", "/tree.socket.admin"] {
      #expect(FileManager.default.createFile(atPath: place.path + name, contents: nil))
    }
    let result = try place.control(
      "emulate", place.path + "/tree", "--ephemeral", "--device", "nvme,cmb=1M", "--", "true")
    #expect(result.status == 0, "\(result.errors)")
    #expect(Set(place.entries) == ["tree.socket", "tree.socket.admin"])
    // A socket that the command has made goes, another file does not.
    try FileManager.default.removeItem(atPath: place.path + "/tree.socket")
    let made = try place.control(
      "emulate", place.path + "/tree", "--ephemeral", "--device", "nvme,cmb=1M", "--", "python3",
      "-c",
      "import os, socket; socket.socket(socket.AF_UNIX).bind(os.environ['GENPOOL_SOCKET'])")
    #expect(made.status == 0, "\(made.errors)")
    #expect(place.entries == ["tree.socket.admin"])
  }

  @Test func `a private directory whose maker ended before it named its owner is removed`() throws {
    let place = try Place()
    func make(_ name: String, age: Double, _ entry: String? = nil) throws {
      let path = place.path + "/" + name
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
      if let entry { #expect(FileManager.default.createFile(atPath: path + entry, contents: nil)) }
      try FileManager.default.setAttributes(
        [.modificationDate: Date(timeIntervalSinceNow: -age)], ofItemAtPath: path)
    }
    try make("genpool-aaaaaa", age: 600)
    try make("genpool-bbbbbb", age: 600, "/owner.new")
    try make("genpool-cccccc", age: 600, "/mine")
    try make("genpool-dddddd", age: 0)
    let result = try place.control(
      "emulate", "--ephemeral", "--device", "nvme,cmb=1M", "--", "true")
    #expect(result.status == 0, "\(result.errors)")
    #expect(Set(place.entries) == ["genpool-cccccc", "genpool-dddddd"])
  }

  @Test func `a tree's document has the verdict on each device`() throws {
    let place = try Place()
    let made = try place.control(
      "emulate", place.path + "/tree", "--device", "nvme,cmb=1M", "--json")
    #expect(made.status == 0 && made.output.contains("\"attachable\" : true"), "\(made.output)")
  }

  @Test func `device show has VFIO's verdict beside that of sysfs`() throws {
    let machine = try EmulatedMachine("nvme,cmb=16M,driver=vfio-pci,group=1")
    let shown = try machine.control("device", "show", "01:00.0")
    #expect(shown.status == 0, "\(shown.errors)")
    #expect(
      shown.output.contains(
        "  through VFIO: genpoolctl pool attach 0000:01:00.0:2,source=vfio\n"))
    #expect(shown.fitsTerminal, "\(shown.output)")
    let document = try machine.control("device", "show", "01:00.0", "--json").output
    #expect(document.contains("\"vfioRefusals\" : ["))
    let alone = try EmulatedMachine("nvme,cmb=16M")
    let plain = try alone.control("device", "show", "01:00.0")
    #expect(!plain.output.contains("through VFIO"), "\(plain.output)")
    #expect(
      try alone.control("device", "show", "01:00.0", "--json").output.contains("no-iommu-group"))
  }

  @Test(arguments: [
    (["--device", "nvme", "/tmp/x", "--", "true"], "A command goes with --ephemeral"),
    (["--ephemeral", "--device", "nvme", "--json", "--", "true"], "--json and a command"),
    (
      ["/tmp/x", "--device", "memory,size=0x8000000000000000"], "at most 9223372036854775807 bytes"
    ),
  ])
  func `wrong usage is named`(arguments: [String], reason: String) throws {
    let result = try Executable.run(Executable.genpoolctl, ["emulate"] + arguments)
    #expect(result.status == 64 && result.errors.contains(reason), "\(result.errors)")
  }

  // MARK: Drivers and names

  @Test func `an emulated device can be taken from its driver and given back`() throws {
    let machine = try EmulatedMachine("nvme,cmb=16M,driver=nvme")
    try FileManager.default.createDirectory(
      atPath: "\(machine.directory)/bus/pci/drivers/uio_pci_generic",
      withIntermediateDirectories: true)
    let bound = try machine.control(
      "device", "bind", "01:00.0", "--driver", "uio_pci_generic")
    #expect(bound.status == 0, "\(bound.errors)")
    #expect(bound.output.contains("0000:01:00.0 has driver uio_pci_generic now"))
    // What the driver had kept from being read and leased can be now.
    let shown = try machine.control("nvme", "show", "01:00.0")
    #expect(shown.status == 0 && shown.output.contains("can be leased"), "\(shown.output)")
    let back = try machine.control("device", "unbind", "01:00.0")
    #expect(back.status == 0, "\(back.errors)")
    #expect(back.output.contains("0000:01:00.0 has driver nvme now"))
  }

  @Test func `nvme show takes the kernel's names`() throws {
    let machine = try EmulatedMachine()
    let directory = machine.directory + "/class/nvme"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    try FileManager.default.createSymbolicLink(
      atPath: directory + "/nvme41",
      withDestinationPath: "../../devices/pci0000:00/0000:01:00.0/nvme/nvme41")
    for name in ["nvme41", "/dev/nvme41", "01:00.0"] {
      let shown = try machine.control("nvme", "show", name)
      #expect(shown.status == 0 && shown.output.contains("0000:01:00.0"), "\(shown.errors)")
    }
    let absent = try machine.control("nvme", "show", "/dev/nvme42")
    #expect(absent.status == 1 && absent.errors.contains("find nvme42: "), "\(absent.errors)")
    let wrong = try machine.control("nvme", "show", "/dev/sda")
    #expect(wrong.status == 64 && wrong.errors.contains("/dev/sda is no address"))
  }

  // MARK: Sizes

  @Test(arguments: [
    ["lease", "acquire", "--size", "%"], ["lease", "acquire", "--size", "1M", "--align", "%"],
    ["lease", "acquire", "--size", "1M", "--fit", "fixed", "--offset", "%"],
    ["lease", "acquire", "--size", "1M", "--dump", "%"],
    ["pool", "attach", "01:00.0:2,size=%"], ["pool", "attach", "01:00.0:2,offset=%"],
    ["pool", "attach", "01:00.0:2,granule=%"],
  ])
  func `sizes that the protocol cannot carry are wrong usage`(arguments: [String]) throws {
    for size in ["0x8000000000000000", "9223372036854775808", "18446744073709551615", "8388608T"] {
      let result = try Executable.run(
        Executable.genpoolctl, arguments.map { $0.replacing("%", with: size) },
        environment: ["GENPOOL_SOCKET": "/nonexistent/socket"])
      #expect(result.status == 64, "\(size) \(result.errors)")
      #expect(result.errors.contains(size), "\(result.errors)")
    }
    let daemon = try Executable.run(
      Executable.genpoold, ["--attach", "01:00.0:2,size=9223372036854775808"])
    #expect(daemon.status == 64)
  }

  @Test func `the largest sizes that it can carry are answered`() throws {
    let pool = try PoolMachine()
    for arguments in [
      ["--size", "9223372036854775807"], ["--size", "4K", "--align", "0x4000000000000000"],
      ["--size", "4K", "--fit", "fixed", "--offset", "0x7ffffffffffff000"],
      ["--size", "9223372036854775807", "--fit", "fixed", "--offset", "0x7ffffffffffff000"],
    ] {
      let result = try pool.control(["lease", "acquire"] + arguments)
      #expect(result.status != 0 && result.status != 64, "\(arguments) \(result.errors)")
      #expect(result.errors.hasPrefix("genpoolctl: "), "\(result.errors)")
    }
    #expect(pool.daemon.end() == 0)
  }
}
