import CUevents
import DeviceEmulation
import DeviceEvents
import DeviceFixtures
import GenPool
import PCIDevices
import SystemPackage
import Testing

/// A sysfs of its own at `/sys` and udevd's messages from it, by umockdev. One test at a time: it is
/// the whole process that is mocked.
@Suite(
  .serialized,
  .enabled(
    if: cu_mock_is_possible(),
    "it takes umockdev: umockdev-wrapper swift test --filter MockedUdevTests"))
struct MockedUdevTests {
  private let address: PCIAddress

  init() throws {
    address = try #require(PCIAddress("0000:01:00.0"))
  }

  /// Runs `body` while `/sys` is empty, with what watches it.
  private func mocked(_ body: (DeviceTree, any DeviceEventSource) throws -> Void) throws {
    try #require(cu_mock_begin())
    defer { cu_mock_end() }
    let tree = DeviceTree(root: SysfsRoot("/sys"))
    try body(tree, DeviceEvents.watch(tree))
  }

  /// Plugs in a device: bare, or with the files of another one.
  private func add(_ name: String, subsystem: String = "pci", like model: SysfsNode? = nil) throws {
    var record = "P: /devices/\(name)\nE: SUBSYSTEM=\(subsystem)\n"
    for file in try model?.entries() ?? [] {
      // Not the links. The beginning of a BAR's file does: it is not mapped.
      guard let bytes = try? model?[file].bytes(limit: 4096) else { continue }
      record += "H: \(file)=" + bytes.map { hexadecimal(UInt64($0), digits: 2) }.joined() + "\n"
    }
    try #require(unsafe cu_mock_add(record))
  }

  private func tell(_ action: String, _ name: String) {
    unsafe cu_mock_tell("/sys/devices/\(name)", action)
  }

  @Test func `what udevd says of /sys is told`() throws {
    try mocked { _, events in
      #expect(events is UdevMonitor)
      #expect(!events.isReadable())
      try add("0000:01:00.0")
      for action in ["bind", "change", "unbind", "remove"] { tell(action, "0000:01:00.0") }
      #expect(events.isReadable())
      let told = try events.collect()
      #expect(
        told == [.added(address)] + [DeviceEvent](repeating: .changed(address), count: 3)
          + [.removed(address)])
    }
  }

  @Test(arguments: UdevMonitor.Group.allCases)
  func `either group can be listened to`(group: UdevMonitor.Group) throws {
    try mocked { _, _ in
      let monitor = try UdevMonitor(group: group)
      try add("0000:01:00.0")
      let told = try monitor.collect()
      #expect(told == [.added(address)])
    }
  }

  @Test func `a device that is told of can be read, and one that is removed cannot`() throws {
    let model = try TemporaryTree("nvme,cmb=1M,node=1")
    let node = model.root["bus/pci/devices"][model.address.description]
    try mocked { tree, events in
      for name in ["0000:01:00.0", "0000:02:00.0", "10000:e1:00.0"] {
        let address = try #require(PCIAddress(name))
        try add(name, like: node)
        let told = try events.collect()
        #expect(told == [.added(address)])
        let device = try tree.device(at: address)
        #expect(device.identity.description == "1b36:0010")
        #expect(device.bar(2)?.size == .mebibytes(1) && device.numaNode == NUMANode(1))
      }
      #expect(try tree.list().devices.count == 3)
      tell("remove", "0000:01:00.0")
      unsafe cu_mock_remove("/sys/devices/0000:01:00.0")
      let told = try events.collect()
      #expect(told.first == .removed(address) && Set(told).count == 1)
      #expect(try !tree.list().devices.map(\.address).contains(address))
    }
  }

  @Test func `devices of other subsystems, and names that are no addresses, are ignored`() throws {
    try mocked { _, events in
      let others = [
        ("net", "eth0"), ("pci_bus", "0000:01"), ("usb", "0000:03:00.0"), ("pci", "README"),
        ("pci", "01:00.0"), ("pci", "0000:AB:00.0"), ("pci", "0000:01:00.8"),
      ]
      for (subsystem, name) in others { try add(name, subsystem: subsystem) }
      #expect(events.isReadable())
      let ignored = try events.collect()
      #expect(ignored == [])
      try add("0000:01:00.0")
      let told = try events.collect()
      #expect(told == [.added(address)])
    }
  }

  @Test func `many devices are told of in order, each once`() throws {
    try mocked { _, events in
      let addresses = try (0..<200).map { try #require(PCIAddress.numbered($0)) }
      var told: [DeviceEvent] = []
      for address in addresses {
        try add(address.description)
        told += try events.collect()
      }
      for address in addresses {
        tell("remove", address.description)
        told += try events.collect()
      }
      #expect(told == addresses.map { .added($0) } + addresses.map { .removed($0) })
    }
  }

  @Test func `an emulated tree is watched by inotify all the same`() throws {
    let tree = try TemporaryTree()
    try mocked { _, _ in
      let events = try DeviceEvents.watch(DeviceTree(root: tree.root))
      #expect(events is TreeWatch)
      let address = try tree.tree.add(.parse("memory"))
      let told = try events.collect()
      #expect(told == [.added(address)])
    }
  }
}
