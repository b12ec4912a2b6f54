import ArgumentParser
import BrokerProtocol
import DeviceEmulation
import DeviceFixtures
import DeviceMemory
import GenPool
import Glibc
import PCIDevices
import SystemPackage
import Testing

@testable import genpoolctl

/// A machine as files: an emulated `/sys`, and beside it what `doctor` reads besides.
private struct MachineImage {
  let tree: TemporaryTree

  init(_ devices: String..., release: String = "6.12.5-amd64", isRoot: Bool = true) throws {
    tree = try TemporaryTree(
      devices.map { try EmulatedDevice.parse($0) })
    try write("/proc/sys/kernel/osrelease", release + "\n")
    try write("/proc/cmdline", "quiet\n")
    try write("/boot/config-\(release)", "CONFIG_IO_STRICT_DEVMEM=y\nCONFIG_VFIO_PCI=m\n")
    try write("/etc/group", "root:x:0:\ngenpool:x:991:\ngenpool-admin:x:990:\n")
    try setCaller(uid: isRoot ? 0 : 1000, capabilities: isRoot ? "000001ffffffffff" : "0")
    try setNamespaces(pid: 4_026_531_836, user: 4_026_531_837)
    try write("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
  }

  /// The machine whose `/` is around the tree.
  var root: SystemRoot { SystemRoot(tree.root.path.removingLastComponent()) }

  func write(_ path: String, _ text: String) throws { try tree.write("/.." + path, text) }

  func setCaller(uid: Int, groups: String = "", capabilities: String) throws {
    try write(
      "/proc/self/status",
      "Name:\tsh\nUid:\t\(uid)\t\(uid)\t\(uid)\t\(uid)\nGid:\t\(uid)\t\(uid)\t\(uid)\t\(uid)\n"
        + "Groups:\t\(groups) \nCapEff:\t\(capabilities)\n")
  }

  func setNamespaces(pid: Int, user: Int) throws {
    for (name, number) in [("pid", pid), ("user", user), ("net", 4_026_531_840)] {
      try tree.link("/../proc/self/ns/\(name)", to: "\(name):[\(number)]")
      if name == "net" { try tree.link("/../proc/1/ns/net", to: "net:[\(number)]") }
    }
  }

  func diagnose(
    _ ask: (BrokerSocket) -> Fact<DaemonFacts.Answer?> = { _ in .unknown("not asked") }
  ) -> Diagnosis {
    Diagnosis(of: root, socket: BrokerSocket(path: "/run/genpool/io.genpool.Broker1"), ask: ask)
  }
}

@Suite struct DoctorTests {
  private func check(_ name: String, _ diagnosis: Diagnosis) throws -> Check {
    try #require(diagnosis.checks.first { $0.name == name }, "\(name)")
  }

  private func expectScreen(_ diagnosis: Diagnosis, lines limit: Int = 24) {
    let lines = diagnosis.text.split(separator: "\n")
    #expect(lines.count <= limit && lines.allSatisfy { $0.count <= 80 }, "\(diagnosis.text)")
    // Each fact once.
    #expect(Set(lines).count == lines.count)
    #expect(diagnosis.checks.allSatisfy { !$0.cause.isEmpty })
    #expect(Set(diagnosis.checks.map(\.name)).count == diagnosis.checks.count)
  }

  // MARK: Seven trees

  @Test func `of a machine that shows nothing, nothing is said to work`() throws {
    let directory = try TemporaryTree.makeDirectory()
    defer { TemporaryTree.removeAll(directory) }
    let diagnosis = Diagnosis(
      of: SystemRoot(directory), socket: BrokerSocket(path: "/run/none"))
    #expect(!diagnosis.canLease && !diagnosis.canMap)
    #expect(diagnosis.checks.filter { $0.state == .works }.map(\.name) == [])
    for name in ["kernel", "lockdown", "mapping", "vfio", "devices", "nvme", "group", "daemon"] {
      #expect(try check(name, diagnosis).state == .unknown, "\(name)")
    }
    #expect(try check("iommu", diagnosis).state == .fails)
    #expect(try check("socket", diagnosis).state == .fails)
    #expect(
      diagnosis.text.hasSuffix(
        "no memory can be leased or mapped by this user now; the causes are above\n"))
  }

  @Test func `a machine that is ready for VFIO`() throws {
    let image = try MachineImage("ivshmem,size=1M,group=1,driver=vfio-pci")
    try image.tree.makeDirectory("/bus/pci/drivers/vfio-pci")
    try image.write("/dev/vfio/vfio", "")
    try image.write("/dev/vfio/1", "")
    try image.write("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "16\n")
    try image.write("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "64\n")
    let diagnosis = image.diagnose()
    for name in ["kernel", "lockdown", "mapping", "vfio", "iommu", "devices", "hugepages"] {
      #expect(try check(name, diagnosis).state == .works, "\(name)")
    }
    #expect(try check("mapping", diagnosis).cause.contains("IO_STRICT_DEVMEM: not those"))
    #expect(diagnosis.canMap && !diagnosis.canLease)
    #expect(
      diagnosis.text.contains(
        "1 MiB: genpoolctl pool attach \(image.tree.address):2,source=vfio\n"))
    expectScreen(diagnosis)
    // Without its nodes, as in a container, VFIO opens nothing.
    image.tree.remove("/../dev/vfio/vfio")
    #expect(try check("vfio", image.diagnose()).state == .fails)
  }

  @Test func `a kernel that is locked down leaves VFIO`() throws {
    let image = try MachineImage("ivshmem,size=1M")
    try image.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    let diagnosis = image.diagnose()
    #expect(try check("lockdown", diagnosis).state == .fails)
    #expect(try check("devices", diagnosis).state == .fails)
    #expect(diagnosis.text.contains("\(image.tree.address)  lockdown\n"))
    #expect(!diagnosis.canMap)
    try image.write("/sys/kernel/security/lockdown", "gibberish\n")
    #expect(try check("lockdown", image.diagnose()).state == .unknown)
    image.tree.remove("/kernel/security")
    #expect(try check("lockdown", image.diagnose()).state == .works)
    for option in ["SECURITY_LOCKDOWN_LSM", "LOCK_DOWN_KERNEL"] {
      try image.write("/boot/config-6.12.5-amd64", "CONFIG_\(option)=y\n")
      #expect(try check("lockdown", image.diagnose()).state == .unknown)
    }
    try image.write(
      "/boot/config-6.12.5-amd64", "# CONFIG_SECURITY_LOCKDOWN_LSM is not set\n")
    #expect(try check("lockdown", image.diagnose()).state == .works)
  }

  @Test func `a controller whose driver serves the system's disk`() throws {
    let image = try MachineImage("nvme,cmb=16M,driver=nvme")
    let (tree, address) = (image.tree, image.tree.address)
    try tree.write("nvme/nvme0/cmbloc", "0x2\n")
    try tree.write("nvme/nvme0/cmbsz", "0x100018\n")
    try tree.write("nvme/nvme0/nvme0n1/dev", "259:0\n")
    try tree.link("/class/block/nvme0n1", to: "../../bus/pci/devices/\(address)/nvme/nvme0/nvme0n1")
    try tree.write("/proc/self/mountinfo", "31 22 259:0 / / rw - ext4 /dev/nvme0n1 rw\n")
    try tree.write("/proc/swaps", "Filename\n")
    let diagnosis = image.diagnose()
    #expect(try check("devices", diagnosis).state == .fails)
    #expect(diagnosis.text.contains("\(address)  nvme0n1 mounted on /; driver-bound\n"))
    let controllers = try check("nvme", diagnosis)
    #expect(controllers.state == .works && controllers.cause.hasPrefix("1 of 1 found have"))
    #expect(controllers.cure == "genpoolctl nvme show \(address)")
    tree.remove("nvme/nvme0/cmbsz")
    #expect(try check("nvme", image.diagnose()).state == .unknown)
  }

  @Test func `an emulated tree, as CI has it`() throws {
    let tree = try TemporaryTree("nvme,cmb=16M")
    let before = try tree.state()
    let diagnosis = Diagnosis(
      of: SystemRoot(sysfs: tree.root, base: ""), socket: BrokerSocket(path: "/nonexistent"))
    #expect(diagnosis.tree == tree.root.path.string)
    #expect(diagnosis.canMap)
    #expect(try check("devices", diagnosis).state == .works)
    let kernel = ["lockdown", "mapping", "vfio", "iommu"]
    #expect(!diagnosis.checks.contains { kernel.contains($0.name) })
    #expect(diagnosis.text.contains("genpoolctl pool attach \(tree.address):2\n"))
    #expect(diagnosis.verdict == "memory can be mapped: genpoold --attach \(tree.address):2")
    #expect(try tree.state() == before && tree.openFiles() == 0)
  }

  @Test func `an old kernel, which shows no revision`() throws {
    let image = try MachineImage("ivshmem,size=1M", release: "3.10.0-1160.el7.x86_64")
    image.tree.remove("revision")
    image.tree.remove("power_state")
    let diagnosis = image.diagnose()
    let kernel = try check("kernel", diagnosis)
    #expect(kernel.state == .unknown && kernel.cause.contains("older than 6.1"))
    // The device is listed or named as unreadable, and never lost.
    let isListed = diagnosis.devices.all.value?.isEmpty == false
    #expect(isListed == diagnosis.devices.unreadable.isEmpty)
    #expect(try check("devices", diagnosis).state == (isListed ? .works : .unknown))
    #expect(isListed || diagnosis.text.contains("unreadable: \(image.tree.address)"))
  }

  @Test func `a container is found by its namespaces, marks and capabilities`() throws {
    let image = try MachineImage("ivshmem,size=1M")
    try image.write("/.dockerenv", "")
    #expect(try check("namespaces", image.diagnose()).state == .works)
    try image.setNamespaces(pid: 4_026_532_000, user: 4_026_531_837)
    let pid = try check("namespaces", image.diagnose())
    #expect(pid.state == .unknown && pid.cause.hasPrefix("not init's: pid;"))
    try image.setCaller(uid: 0, capabilities: "00000000a80425fb")
    let docker = try check("namespaces", image.diagnose())
    #expect(docker.state == .fails && docker.cause.contains("CAP_SYS_ADMIN"))
    #expect(docker.cause.contains("/.dockerenv"))
    #expect(docker.cure?.contains("-v /run/genpool/io.genpool.Broker1:") == true)
    try image.setNamespaces(pid: 4_026_532_000, user: 4_026_532_001)
    #expect(try check("namespaces", image.diagnose()).cause.contains("user namespace"))
    image.tree.remove("/../proc/self/ns")
    #expect(try check("namespaces", image.diagnose()).state == .unknown)
  }

  // MARK: Single facts

  @Test func `this machine is diagnosed, whatever it is`() {
    let diagnosis = Diagnosis(of: .standard, socket: BrokerSocket(path: "/nonexistent"))
    expectScreen(diagnosis, lines: 40)
    #expect(diagnosis.kernel.version != nil)
    #expect(diagnosis.caller.uid.value == geteuid())
  }

  @Test func `a daemon that does not run is not asked, for that would start it`() throws {
    let image = try MachineImage("ivshmem,size=1M")
    var isAsked = false
    func ask(_ socket: BrokerSocket) -> Fact<DaemonFacts.Answer?> {
      isAsked = true
      return .known(.init(version: "1.2.3", pools: ["cmb"], idlePools: 1))
    }
    #expect(try check("daemon", image.diagnose(ask)).state == .fails)
    try image.write("/run/genpool/io.genpool.Broker1", "")
    let silent = try check("daemon", image.diagnose(ask))
    #expect(!isAsked && silent.state == .unknown && silent.cure == "genpoolctl pool list")
    try image.write("/proc/77/comm", "genpoold\n")
    let diagnosis = image.diagnose(ask)
    #expect(isAsked && diagnosis.canLease)
    let daemon = try check("daemon", diagnosis)
    #expect(daemon.state == .works)
    #expect(daemon.cause == "genpoold 1.2.3, 1 pool (cmb); 1 not ready")
    #expect(diagnosis.verdict == "memory can be leased: genpoolctl lease acquire --size 1M")
  }

  @Test func `a user is told the group that may lease`() throws {
    let image = try MachineImage("ivshmem,size=1M", isRoot: false)
    let outside = try check("group", image.diagnose())
    #expect(outside.state == .fails && outside.cause.contains("group 991"))
    #expect(outside.cure?.contains("usermod -aG genpool") == true)
    try image.setCaller(uid: 1000, groups: "27 991", capabilities: "0")
    #expect(try check("group", image.diagnose()).state == .works)
    try image.write("/etc/group", "root:x:0:\n")
    let missing = try check("group", image.diagnose())
    #expect(missing.state == .fails && missing.cause.contains("no group genpool"))
    image.tree.remove("/../proc/self/status")
    #expect(try check("group", image.diagnose()).state == .unknown)
  }

  @Test(arguments: [
    ("CONFIG_IO_STRICT_DEVMEM=y\n", "quiet", true), ("CONFIG_X=y\n", "quiet", false),
    ("CONFIG_IO_STRICT_DEVMEM=y\n", "quiet iomem=relaxed", false),
  ])
  func `IO_STRICT_DEVMEM is read from the kernel's configuration and command line`(
    configuration: String, line: String, isStrict: Bool
  ) throws {
    let image = try MachineImage("ivshmem,size=1M")
    try image.write("/boot/config-6.12.5-amd64", configuration)
    try image.write("/proc/cmdline", line + "\n")
    #expect(image.diagnose().kernel.isStrict == .known(isStrict))
  }

  @Test func `a configuration that cannot be read leaves its facts unknown`() throws {
    let image = try MachineImage("ivshmem,size=1M")
    image.tree.remove("/../boot")
    #expect(try check("mapping", image.diagnose()).state == .unknown)
    try image.write("/proc/config.gz", "not gzip")
    #expect(image.diagnose().kernel.isStrict == .unknown("/proc/config.gz is malformed"))
    try image.write("/lib/modules/6.12.5-amd64/config", "CONFIG_IO_STRICT_DEVMEM=y\n")
    #expect(image.diagnose().kernel.isStrict == .known(true))
  }

  @Test func `vfio-pci is loaded, loadable, absent or unknown`() throws {
    let image = try MachineImage("ivshmem,size=1M")
    #expect(image.diagnose().kernel.vfio.obstacle?.contains("not in /lib/modules") == true)
    try image.write(
      "/lib/modules/6.12.5-amd64/modules.dep",
      "kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/vfio.ko.xz\n")
    #expect(image.diagnose().kernel.vfio == .known(.loadable))
    #expect(try check("vfio", image.diagnose()).cure == "sudo modprobe vfio-pci")
    image.tree.remove("/../lib")
    try image.write("/boot/config-6.12.5-amd64", "# CONFIG_VFIO_PCI is not set\n")
    #expect(image.diagnose().kernel.vfio == .known(.missing))
  }

  @Test func `every genpool command in a cure is one that exists`() throws {
    let image = try MachineImage("nvme,cmb=16M,driver=nvme", isRoot: false)
    try image.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
    let nothing = try TemporaryTree.makeDirectory()
    defer { TemporaryTree.removeAll(nothing) }
    var diagnoses = [image.diagnose()]
    diagnoses.append(Diagnosis(of: SystemRoot(nothing), socket: BrokerSocket(path: "/none")))
    try image.write("/run/genpool/io.genpool.Broker1", "")
    try image.write("/proc/77/comm", "genpoold\n")
    diagnoses.append(
      image.diagnose { _ in .known(.init(version: "1", pools: [], idlePools: 0)) })
    var count = 0
    for cure in diagnoses.flatMap(\.checks).compactMap(\.cure) {
      for match in cure.matches(of: /genpoolctl ([a-z]+)(?: ([a-z]+))?/) {
        let group = GenPoolCtl.configuration.subcommands.first {
          $0.configuration.commandName == String(match.1)
        }
        let commands = try #require(group, "\(cure)").configuration
        if let verb = match.2.map(String.init), commands.defaultSubcommand == nil {
          #expect(commands.subcommands.contains { $0.configuration.commandName == verb }, "\(cure)")
        }
        count += 1
      }
    }
    #expect(count >= 4)
  }

  @Test func `a pool that is not opened anew is unseen for good`() {
    func isUnseenForGood(_ isolation: String, _ witness: String) -> Bool {
      Broker1.Pool(
        name: "p", device: "0000:01:00.0", bar: 2, offset: .zero, size: 4096, physical: nil,
        bus: nil, numaNode: nil, granule: 4096, caching: "cached", isolation: isolation,
        state: .draining, failure: nil, available: 4096, dirty: .zero, leased: .zero, leases: 0,
        holders: 0, largestFree: 4096, exclusiveUid: nil, witness: witness, reach: "unknown"
      ).isUnseenForGood
    }
    #expect(!isUnseenForGood("uid-exclusive", "reopening"))
    #expect(isUnseenForGood("cooperative", "reopening"))
    #expect(isUnseenForGood("uid-exclusive", "none"))
  }

  @Test func `pools that are not for the caller, or do not lease, are not counted as ready`() {
    func pool(
      _ name: String, _ state: Broker1.PoolState, mayLease: Bool?
    ) -> Broker1.Pool {
      var pool = Broker1.Pool(
        name: name, device: "0000:01:00.0", bar: 2, offset: .zero, size: 4096, physical: nil,
        bus: nil, numaNode: nil, granule: 4096, caching: "cached", isolation: "uid-exclusive",
        state: state, failure: nil, available: 4096, dirty: .zero, leased: .zero, leases: 0,
        holders: 0, largestFree: 4096, exclusiveUid: nil)
      pool.mayLease = mayLease
      return pool
    }
    let answer = DaemonFacts.Answer(
      version: "1",
      pools: [
        pool("mine", .active, mayLease: true), pool("older", .active, mayLease: nil),
        pool("others", .active, mayLease: false), pool("off", .draining, mayLease: true),
        pool("late", .waiting, mayLease: true),
      ])
    #expect(answer.pools == ["mine", "older"] && answer.idlePools == 3)
  }

  @Test(.enabled(if: geteuid() == 0, "only root gives files to other users"))
  func `the daemon of another user is not asked, and root's is`() throws {
    let image = try MachineImage("ivshmem,size=1M")
    try image.write("/run/genpool/io.genpool.Broker1", "")
    try image.write("/proc/77/comm", "genpoold\n")
    func own(_ path: String, _ user: UInt32) {
      #expect(unsafe chown(image.tree.path("/.." + path).string, user, user) == 0)
    }
    var count = 0
    func ask(_ socket: BrokerSocket) -> Fact<DaemonFacts.Answer?> {
      count += 1
      return .known(nil)
    }
    own("/run/genpool/io.genpool.Broker1", 1001)
    own("/proc/77", 1002)
    _ = image.diagnose(ask)
    #expect(count == 0, "uid 1002's daemon does not listen at uid 1001's socket")
    own("/proc/77", 1001)
    _ = image.diagnose(ask)
    #expect(count == 1)
    own("/proc/77", 0)
    _ = image.diagnose(ask)
    #expect(count == 2)
  }

  @Test func `a socket works only while a process listens at it`() throws {
    let image = try MachineImage("ivshmem,size=1M")
    let path = "/run/genpool/io.genpool.Broker1"
    try image.write(path, "")
    try image.tree.link("/../proc/1/ns/net", to: "net:[4026531840]")
    #expect(try check("socket", image.diagnose()).state == .unknown, "no list of sockets")
    let head = "Num       RefCount Protocol Flags    Type St Inode Path\n"
    let connected = "ffff8880: 00000003 00000000 00000000 0001 03 1234 \(path)\n"
    try image.write("/proc/net/unix", head + connected)
    let stale = try check("socket", image.diagnose())
    #expect(stale.state == .fails && stale.cause.contains("stale"), "\(stale.cause)")
    try image.write(
      "/proc/net/unix", head + "ffff8880: 00000002 00000000 00010000 0001 01 99 \(path)\n")
    #expect(try check("socket", image.diagnose()).state == .works)
    // By another path, as /var/run is a link to /run; and by one that does not lead there.
    try image.tree.link("/../other", to: "run/genpool")
    let name = "io.genpool.Broker1"
    try image.write(
      "/proc/net/unix", head + "ffff8880: 00000002 00000000 00010000 0001 01 99 /other/\(name)\n")
    #expect(try check("socket", image.diagnose()).state == .works)
    try image.write(
      "/proc/net/unix", head + "ffff8880: 00000002 00000000 00010000 0001 01 99 /third/\(name)\n")
    #expect(try check("socket", image.diagnose()).state == .fails)
    // From the process's own directory, which is not known.
    try image.write(
      "/proc/net/unix", head + "ffff8880: 00000002 00000000 00010000 0001 01 99 genpool/\(name)\n")
    #expect(try check("socket", image.diagnose()).state == .unknown)
    // One that another network namespace's list may have.
    try image.write("/proc/net/unix", head)
    try image.tree.link("/../proc/1/ns/net", to: "net:[4026531999]")
    #expect(try check("socket", image.diagnose()).state == .unknown)
  }

  @Test func `a network namespace that cannot be compared is not said to be init's`() throws {
    let image = try MachineImage("ivshmem,size=1M")
    image.tree.remove("/../proc/1")
    let unseen = try check("namespaces", image.diagnose())
    #expect(unseen.state == .unknown && unseen.cause.hasPrefix("net: "), "\(unseen.cause)")
    try image.tree.link("/../proc/1/ns/net", to: "net:[4026531840]")
    #expect(try check("namespaces", image.diagnose()).state == .works)
  }

  @Test func `root of a user namespace is not root to the socket's group`() throws {
    let image = try MachineImage("ivshmem,size=1M")
    #expect(try check("group", image.diagnose()).state == .works)
    try image.setNamespaces(pid: 4_026_531_836, user: 4_026_532_001)
    let contained = try check("group", image.diagnose())
    #expect(contained.state == .unknown && contained.cause.contains("user namespace"))
    image.tree.remove("/../proc/self/ns")
    #expect(try check("group", image.diagnose()).state == .unknown)
  }
}
