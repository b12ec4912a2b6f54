import Foundation
import TestSupport
import Testing

/// `genpoolctl device` and `emulate`, which need no daemon.
@Suite struct DeviceCommandTests {
  @Test func `the list has each device with its BARs as the kernel prints them`() throws {
    let machine = try EmulatedMachine()
    let result = try machine.control("device", "list")
    #expect(result.status == 0)
    #expect(result.errors.isEmpty)
    #expect(result.output.hasPrefix("DEVICE        IDS        DRIVER  USE  VERDICT  NAME\n"))
    #expect(result.output.contains("\n0000:01:00.0  1b36:0010  -       -    sysfs    "))
    let bar = /BAR 2 \[mem 0x[0-9a-f]{16}-0x[0-9a-f]{16} 64bit pref\]  16 MiB\n/
    #expect(try bar.firstMatch(in: result.output) != nil)
    #expect(!result.output.contains("bus "))
  }

  @Test
  func `the list has what uses a device, and the rule that keeps its memory from being a pool`()
    throws
  {
    let machine = try EmulatedMachine("nvme,cmb=16M,driver=nvme")
    let place = "\(machine.directory)/bus/pci/devices/\(machine.device)/net/eth7"
    let classes = "\(machine.directory)/class/net"
    let files = FileManager.default
    for path in [place, classes] {
      try files.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    try "0x1003\n".write(toFile: "\(place)/flags", atomically: false, encoding: .utf8)
    try files.createSymbolicLink(
      atPath: "\(classes)/eth7",
      withDestinationPath: "../../bus/pci/devices/\(machine.device)/net/eth7")
    let result = try machine.control("device", "list")
    #expect(result.status == 0)
    #expect(
      result.output.contains("\n0000:01:00.0  1b36:0010  nvme    eth7 up  driver-bound  "),
      "\(result.output)")
    let device = try #require(
      try machine.control("device", "list", "--json").document(Devices.self).devices.first)
    #expect(device.uses == ["eth7 up"])
    #expect(device.verdict == DeviceVerdict(attachable: false, sources: [], rule: "driver-bound"))
    let shown = try machine.control("device", "show", "01:00.0")
    #expect(shown.output.contains("\nused       eth7 up\n"), "\(shown.output)")
    #expect(shown.output.contains("refused by driver-bound: eth7 up; driver nvme is bound to it"))
    let free = try EmulatedMachine().control("device", "list", "--json").document(Devices.self)
    #expect(free.devices.first?.uses == [])
    #expect(
      free.devices.first?.verdict
        == DeviceVerdict(attachable: true, sources: ["sysfs"], rule: nil))
  }

  @Test func `a device is released, attached, and given back to its driver`() throws {
    let machine = try EmulatedMachine("nvme,cmb=16M,driver=nvme")
    let dry = try machine.control("device", "release", "01:00.0", "--dry-run")
    #expect(dry.status == 0, "\(dry.errors)")
    #expect(
      dry.output.contains(
        "echo 'none' > /sys/bus/pci/devices/0000:01:00.0/driver_override\n"))
    #expect(dry.output.contains("# 0000:01:00.0 has driver none now\n"))
    #expect(try machine.attribute("driver_override") == "(null)\n")
    func rule() throws -> String? {
      try machine.control("device", "list", "--json").document(Devices.self).devices.first?
        .verdict?.rule
    }
    #expect(try rule() == "driver-bound")
    let released = try machine.control("device", "release", "01:00.0")
    #expect(released.status == 0, "\(released.errors)")
    #expect(try rule() == nil)
    let back = try machine.control("device", "unbind", "01:00.0")
    #expect(back.status == 0, "\(back.errors)")
    #expect(try rule() == "driver-bound")
    // A kernel shows (null) for none.
    #expect(try ["\n", "(null)\n"].contains(machine.attribute("driver_override")))
  }

  @Test func `a bus address is shown where it differs`() throws {
    let machine = try EmulatedMachine("ivshmem,size=16M,bus-offset=0x40000000")
    let output = try machine.control("device", "list").output
    let pattern =
      /BAR 2 \[mem (?<physical>0x[0-9a-f]+)-[^\n]*\n +bus (?<bus>0x[0-9a-f]+)\n/
    let match = try #require(try pattern.firstMatch(in: output))
    let physical = try #require(UInt64(match.physical.dropFirst(2), radix: 16))
    #expect(UInt64(match.bus.dropFirst(2), radix: 16) == physical + 0x4000_0000)
  }

  private struct Devices: Decodable {
    let devices: [Device]
  }

  private struct Device: Decodable {
    let address: String
    let vendorID: Int
    let deviceID: Int
    let classCode: Int
    let driver: String?
    let bars: [BAR]
    let refusals: [Verdict]?
    let uses: [String]?
    let verdict: DeviceVerdict?
  }

  private struct DeviceVerdict: Decodable, Equatable {
    let attachable: Bool
    let sources: [String]
    let rule: String?
  }

  private struct BAR: Decodable {
    let index: Int
    let physical: String
    let bus: String
    let size: Int
    let kind: String
    let prefetchable: Bool
    let width64: Bool
  }

  private struct Verdict: Decodable {
    let bar: Int
    let refusals: [Refusal]
  }

  private struct Refusal: Decodable {
    let rule: String
    let cause: String
    let cure: String
  }

  @Test func `the JSON has addresses as strings, sizes as numbers, and sorted keys`() throws {
    let machine = try EmulatedMachine("nvme,cmb=16M,driver=nvme")
    let result = try machine.control("device", "list", "--json")
    #expect(result.keys == ["devices", "unreadable"])
    let device = try #require(try result.document(Devices.self).devices.first)
    #expect(device.address == "0000:01:00.0")
    #expect(device.vendorID == 0x1b36 && device.deviceID == 0x10 && device.classCode == 0x010802)
    #expect(device.driver == "nvme")
    let bar = try #require(device.bars.first { $0.index == 2 })
    #expect(bar.size == 16 << 20 && bar.kind == "memory" && bar.prefetchable && bar.width64)
    #expect(bar.physical.wholeMatch(of: /0x[0-9a-f]{16}/) != nil)
    #expect(bar.bus == bar.physical)
  }

  @Test func `a device is shown with the rules that would refuse its memory, and their cures`()
    throws
  {
    let machine = try EmulatedMachine("nvme,cmb=16M,driver=nvme")
    let result = try machine.control("device", "show", "01:00.0")
    #expect(result.status == 0)
    #expect(result.output.contains("refused by driver-bound: driver nvme is bound to it"))
    #expect(result.output.contains("cure: genpoolctl device release 0000:01:00.0"))
    #expect(result.output.contains("refused by registers"))
    #expect(!result.output.contains("echo") && !result.output.contains("allow=not-prefetchable"))
    #expect(!result.output.contains("can be attached"))
    let document = try machine.control("device", "show", "--json", "01:00.0")
    #expect(document.keys == document.keys.sorted())
    let verdicts = try #require(try document.document(Device.self).refusals)
    #expect(verdicts.map(\.bar) == [0, 2])
    #expect(verdicts[1].refusals.map(\.rule) == ["driver-bound"])
    #expect(verdicts[1].refusals[0].cause.contains("nvme"))
  }

  @Test(arguments: [
    ["nvme,cmb=16M,driver=nvme"], ["nvme,cmb=16M,driver=nvme,group=1"],
    ["nvme,cmb=16M,driver=nvme,group=1", "ivshmem,driver=ivshmem,group=1"],
    ["nvme,cmb=16M,group=1", "ivshmem,driver=ivshmem,group=1"],
  ])
  func `the cure of a device that a driver has is a command that can be tried`(devices: [String])
    throws
  {
    let machine = try EmulatedMachine(devices[0])
    for other in devices.dropFirst() {
      let added = try machine.control("emulate", "add", machine.directory, "--device", other)
      #expect(added.status == 0)
    }
    for driver in ["vfio-pci", "uio_pci_generic"] {
      try FileManager.default.createDirectory(
        atPath: "\(machine.directory)/bus/pci/drivers/\(driver)", withIntermediateDirectories: true)
    }
    let shown = try machine.control("device", "show", "--json", "01:00.0")
    let verdict = try #require(try shown.document(Device.self).refusals?.last)
    #expect(!verdict.refusals.isEmpty)
    for refusal in verdict.refusals {
      let command = try #require(
        refusal.cure.firstMatch(of: /genpoolctl (device (?:bind|release) [^(]+) \(with/))
      let arguments = command.1.split(separator: " ").map(String.init) + ["--dry-run"]
      let result = try Executable.run(
        Executable.genpoolctl, arguments, environment: machine.environment)
      #expect(result.status == 0 && result.output.contains("would be done"), "\(result.output)")
    }
  }

  @Test(arguments: ["--dry-run", "--group"])
  func `a device that nobody bound is not unbound, and it says by which rule`(option: String)
    throws
  {
    let machine = try EmulatedMachine("nvme,cmb=16M,driver=nvme")
    let result = try machine.control("device", "unbind", "01:00.0", option)
    #expect(result.status == 1)
    #expect(result.output.contains("refused by not-bound: 0000:01:00.0: it has driver nvme"))
    #expect(result.errors.contains("0000:01:00.0 stays as it is"))
    #expect(result.fitsTerminal)
    #expect(try machine.attribute("driver_override") == "(null)\n")
  }

  @Test func `memory that can be attached is shown with the command for it`() throws {
    let machine = try EmulatedMachine("ivshmem,size=16M")
    let result = try machine.control("device", "show", "0000:01:00.0")
    #expect(result.output.contains("can be attached: genpoolctl pool attach 0000:01:00.0:2\n"))
    #expect(try machine.attribute("enable") == "0\n", "looking changes nothing")
    let controller = try EmulatedMachine().control("device", "show", "0000:01:00.0")
    #expect(controller.output.contains("genpoolctl pool attach 0000:01:00.0:cmb\n"))
    #expect(controller.output.contains("0000:01:00.0:pmr,erase=yes"))
    #expect(controller.fitsTerminal)
  }

  @Test func `memory that is a pool is shown as that`() throws {
    let machine = try PoolMachine()
    for verb in ["device", "nvme"] {
      let result = try machine.control(verb, "show", "01:00.0")
      #expect(result.status == 0, "\(result.errors)")
      #expect(result.output.contains("\n  is pool cmb\n"))
      #expect(!result.output.contains("can be attached"))
      #expect(!result.output.contains("can be leased"))
    }
    // Who has the controller's own memory has its registers, too.
    #expect(try machine.control("pool", "detach", "cmb").status == 0)
    #expect(try machine.control("pool", "attach", "01:00.0:cmb,name=own").status == 0)
    let taken = try machine.control("nvme", "show", "01:00.0")
    #expect(taken.status == 1 && taken.output.contains("BAR 2 is pool own"), "\(taken.output)")
  }

  @Test func `a controller of which nothing is shown is a failure`() throws {
    let machine = try EmulatedMachine()
    try FileManager.default.removeItem(
      atPath: "\(machine.directory)/bus/pci/devices/\(machine.device)/resource0")
    let blind = try machine.control("nvme", "show", machine.device)
    #expect(blind.status == 1 && blind.output.contains("registers could not be read"))
    let wrong = try machine.control("nvme", "show", machine.device, "--allow", "foo")
    #expect(
      wrong.status == 64
        && wrong.errors.contains("there are accelerator, hotplug, not-prefetchable"))
  }

  @Test func `a device that is not there, and an address that is none`() throws {
    let machine = try EmulatedMachine()
    let missing = try machine.control("device", "show", "0000:09:00.0")
    #expect(missing.status == 1)
    #expect(missing.errors.contains("0000:09:00.0: no such PCI device"))
    #expect(missing.output.isEmpty)
    #expect(try machine.control("device", "show", "nine").status == 64)
  }

  @Test func `what cannot be read is in the list, and the exit status tells`() throws {
    let machine = try EmulatedMachine("nvme,cmb=16M")
    let place = machine.directory + "/bus/pci/devices/"
    try "near\n".write(
      toFile: place + machine.device + "/numa_node", atomically: true, encoding: .utf8)
    try "".write(toFile: place + "README", atomically: true, encoding: .utf8)
    let shown = try machine.control("device", "list")
    #expect(shown.status == 1 && shown.errors.isEmpty)
    #expect(shown.output.contains(machine.device) && shown.output.contains("not known:"))
    #expect(shown.output.contains("Left out README"))
    let document = try machine.control("device", "list", "--json")
    #expect(document.status == 1 && document.output.contains("numa_node"))
    let one = try machine.control("device", "show", machine.device)
    #expect(one.status == 1 && one.output.contains("refused by unreadable"))
  }

  @Test func `a root that is not there is an error that names it`() throws {
    let result = try Executable.run(
      Executable.genpoolctl, ["device", "list"],
      environment: ["GENPOOL_SYSFS_ROOT": "/nonexistent"])
    #expect(result.status == 1)
    #expect(result.output.contains("There is no PCI bus: open /nonexistent/bus/pci/devices"))
  }

  @Test func `a tree that is there is not made again, but added to`() throws {
    let machine = try EmulatedMachine()
    let again = try machine.control("emulate", machine.directory, "--device", "nvme,cmb=1M")
    #expect(again.status == 1 && again.errors.contains("genpoolctl emulate add"))
    let devices = try machine.control("device", "list", "--json").document(Devices.self).devices
    #expect(devices.map(\.address) == [machine.device])
  }

  @Test func `a shell can take over an ephemeral tree`() throws {
    let line = """
      set -e; unset XDG_RUNTIME_DIR
      eval "$(genpoolctl emulate --ephemeral --device nvme,cmb=1M --device ivshmem,size=1M)"
      dirname "$GENPOOL_SOCKET"; genpoolctl device list
      rm -r "$(dirname "$GENPOOL_SOCKET")"
      """
    let directory = FileManager.default.temporaryDirectory.path()
    let result = try Executable.run(
      "/bin/sh", ["-c", line],
      environment: ["PATH": Executable.searchPath, "TMPDIR": directory])
    #expect(result.status == 0, "\(result.errors)")
    #expect(result.output.hasPrefix(directory + "genpool-"))
    #expect(result.output.contains("0000:02:00.0  1af4:1110"))
  }

  @Test(arguments: [
    (["emulate"], "--device"), (["emulate", "--device", "nvme,cmb=1M"], "directory"),
    (["emulate", "/tmp/x", "--device", "toaster"], "toaster"),
    (["emulate", "/tmp/x", "--device", "nvme,colour=red"], "colour"),
    (["device", "show", "01:00"], "like 0000:01:00.0"),
    (["device", "lost"], "lost"), (["device", "list", "--colour"], "--colour"),
  ])
  func `wrong usage ends with 64 and names what is wrong`(arguments: [String], named: String)
    throws
  {
    let result = try Executable.run(Executable.genpoolctl, arguments)
    #expect(result.status == 64)
    #expect(result.errors.contains(named), "\(result.errors)")
    #expect(result.output.isEmpty)
  }

  @Test func `a reader that has had enough is no error to talk about`() throws {
    let machine = try EmulatedMachine()
    let environment = machine.environment.merging(["PATH": Executable.searchPath]) { $1 }
    for trap in ["", "trap '' PIPE; "] {
      let result = try Executable.run(
        "/bin/sh", ["-c", trap + "(sleep 0.2; genpoolctl device list; echo $? >&2) | true"],
        environment: environment)
      #expect(result.errors == "141\n")
    }
    let closed = try Executable.run(
      "/bin/sh", ["-c", "genpoolctl device list >&-"], environment: environment)
    #expect(closed.status == 1)
    #expect(closed.errors.contains("write standard output"))
  }

  @Test func `it says its version and explains itself`() throws {
    #expect(
      try Executable.run(Executable.genpoolctl, ["--version"]).output.hasPrefix("genpoolctl "))
    for verb in [
      [], ["doctor"], ["device", "list"], ["device", "show"], ["device", "release"],
      ["pool", "list"], ["pool", "show"],
      ["pool", "attach"], ["pool", "detach"], ["lease", "list"], ["lease", "acquire"], ["emulate"],
    ] {
      let help = try Executable.run(Executable.genpoolctl, verb + ["--help"])
      #expect(help.status == 0)
      #expect(help.output.hasPrefix("OVERVIEW: "))
      #expect(help.fitsTerminal, "\(verb)")
    }
  }
}
