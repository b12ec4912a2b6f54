import CUevents
import DeviceEvents
import DeviceFixtures
import Glibc
import PCIDevices
import Reference
import SystemPackage
import Testing

/// What the kernel sends, received for real. What udevd sends: ``MockedUdevTests``.
@Suite(.enabled(if: PrivateUevents.isPossible, PrivateUevents.requirement))
struct UdevMonitorTests {
  private let address: PCIAddress

  init() throws {
    address = try #require(PCIAddress("0000:01:00.0"))
  }

  @Test func `the kernel's events of PCI devices are told`() throws {
    let kernel = try PrivateUevents()
    #expect(!kernel.monitor.isReadable())
    for action in ["add", "bind", "change", "unbind", "online", "offline", "remove"] {
      try kernel.tell(action, "0000:01:00.0")
    }
    #expect(
      try kernel.monitor.collect()
        == [.added(address)] + [DeviceEvent](repeating: .changed(address), count: 5)
        + [.removed(address)])
    try kernel.tell("add", "10000:e1:1f.7")
    #expect(try kernel.monitor.collect() == [.added(#require(PCIAddress("10000:e1:1f.7")))])
  }

  @Test func `events of other subsystems, and of what is no device, are ignored`() throws {
    let kernel = try PrivateUevents()
    for subsystem in ["pci_bus", "net", "slots", "drivers", "PCI", "pc", "pcie", ""] {
      try kernel.tell("add", "0000:01:00.0", subsystem: subsystem)
    }
    for name in ["0000:01:00", "01:00.0", "0000:01:00.8", "0000:AB:00.0", "nvme", "\u{1f50c}"] {
      try kernel.tell("add", name)
    }
    #expect(kernel.monitor.isReadable())
    #expect(try kernel.monitor.collect() == [])
    try kernel.tell("add", "0000:01:00.0")
    #expect(try kernel.monitor.collect() == [.added(address)])
  }

  @Test func `malformed messages are ignored, and what comes behind them is told`() throws {
    let kernel = try PrivateUevents()
    let good = PrivateUevents.message("add", "0000:01:00.0")
    let path = "/devices/pci0000:00/0000:01:00.0"
    let malformed = [
      "\0", "add", "add@", "add@/", "\0\0\0\0", "add@\(path)\0", "add\(path)\0ACTION=add\0",
      "add@\(path)\0ACTION=add\0DEVPATH=\(path)\0",
      "add@\(path)\0ACTION=add\0SUBSYSTEM=pci\0",
      "add@\(path)\0DEVPATH=\(path)\0SUBSYSTEM=pci\0",
      "add@\(path)\0ACTION=add\0DEVPATH=0000:01:00.0\0SUBSYSTEM=pci\0",
      "add@\(path)\0ACTION=add\0DEVPATH=\0SUBSYSTEM=pci\0",
      "add@\(path)\0ACTION\0DEVPATH\0SUBSYSTEM\0",
      "add@\(path)\0=\0==\0=pci\0",
      "anything@\(path)\0ACTION=anything\0DEVPATH=\(path)\0SUBSYSTEM=pci\0",
      // The kernel lets nothing longer than 2 KiB pass.
      String(repeating: "x", count: 2000),
      "add@\(path)\0" + String(repeating: "K=V\0", count: 480),
      "libudev\0", "libudev\0" + String(repeating: "\u{7f}", count: 100),
    ]
    for text in malformed {
      try kernel.broadcast(text)
      try kernel.broadcast(good)
    }
    let told = try kernel.monitor.collect()
    #expect(told == [DeviceEvent](repeating: .added(address), count: malformed.count))
  }

  @Test func `no prefix of a message is taken for another event`() throws {
    let kernel = try PrivateUevents()
    let good = PrivateUevents.message("remove", "0000:01:00.0")
    for length in 1..<good.utf8.count {
      try kernel.broadcast(String(good.prefix(length)) + "\0")
    }
    let told = Set(try kernel.monitor.collect())
    #expect(told.isSubset(of: [.removed(address)]))
  }

  @Test func `messages of other processes are ignored, even of root's`() throws {
    let kernel = try PrivateUevents()
    let forged = PrivateUevents.message("remove", "0000:01:00.0")
    for _ in 0..<20 {
      try kernel.forgeBroadcast(forged)
      try kernel.forgeBroadcast(forged, group: 2)
      try kernel.forgeMessage(forged)
    }
    try kernel.tell("add", "0000:01:00.0")
    #expect(kernel.monitor.isReadable())
    #expect(try kernel.monitor.collect() == [.added(address)])
  }

  @Test func `a drain takes a bounded number of messages, the descriptor tells of the rest`() throws
  {
    let kernel = try PrivateUevents()
    for _ in 0..<600 { try kernel.tell("change", "0000:01:00.0") }
    var first: [DeviceEvent] = []
    try kernel.monitor.drain { first.append($0) }
    #expect(first.count < 600 && kernel.monitor.isReadable())
    let all = try first + kernel.monitor.collect()
    #expect(all == [DeviceEvent](repeating: .changed(address), count: 600))
  }

  @Test(arguments: [0, 64 << 10, 1 << 20])
  func `lost messages are told as an overrun, after those that were kept`(buffer: Int) throws {
    // The kernel's smallest buffer has room for a few, the largest here for more than a drain takes.
    let kernel = try PrivateUevents(receiveBuffer: buffer)
    let addresses = try (0..<4000).map { try #require(PCIAddress.numbered($0)) }
    for address in addresses { try kernel.tell("add", address.description) }
    let events = try kernel.monitor.collect()
    let kept = events.count - 1
    #expect(kept > 0 && kept < addresses.count)
    #expect(events == addresses.prefix(kept).map { .added($0) } + [.overrun])
    // From here on the kernel queues again: nothing can fall between a look at the tree and this.
    try kernel.tell("remove", "0000:01:00.0")
    #expect(try kernel.monitor.collect() == [.removed(address)])
  }

  @Test func `what happens while an overrun is being drained is not lost unnoticed`() throws {
    let kernel = try PrivateUevents(receiveBuffer: 1 << 20)
    for _ in 0..<4000 { try kernel.tell("change", "0000:02:00.0") }
    var events: [DeviceEvent] = []
    try kernel.monitor.drain { events.append($0) }
    try #require(kernel.monitor.isReadable(), "the buffer is too small for this test")
    // The kernel drops it: it queues nothing until all has been read.
    try kernel.tell("remove", "0000:01:00.0")
    try events += kernel.monitor.collect()
    #expect(!events.contains(.removed(address)))
    #expect(events.last == .overrun)
    #expect(events.count { $0 == .overrun } == 1)
  }

  @Test func `nothing is lost unnoticed, whenever the reader comes`() throws {
    let kernel = try PrivateUevents(receiveBuffer: 0)
    var random = SplitMix64(seed: 42)
    // What a consumer believes, against what is.
    var present: Set<PCIAddress> = []
    var believed: Set<PCIAddress> = []
    var overruns = 0
    for round in 0..<2000 {
      for _ in 0..<Int.random(in: 0...6, using: &random) {
        let device = try #require(PCIAddress.numbered(.random(in: 0..<40, using: &random)))
        let isNew = present.remove(device) == nil
        if isNew { present.insert(device) }
        try kernel.tell(isNew ? "add" : "remove", device.description)
      }
      try kernel.monitor.drain { event in
        switch event {
        case .added(let address): believed.insert(address)
        case .removed(let address): believed.remove(address)
        case .changed: Issue.record("\(event)")
        case .overrun:
          overruns += 1
          believed = present
        }
      }
      #expect(believed == present, "round \(round)")
    }
    #expect(overruns > 0)
  }

  @Test func `a device that the kernel renames asks for another look`() throws {
    let kernel = try PrivateUevents()
    try kernel.tell("move", "0000:01:00.0")
    try kernel.tell("add", "0000:01:00.0")
    #expect(try kernel.monitor.collect() == [.added(address), .overrun])
  }

  @Test func `the receive buffer is as large as root may make it`() throws {
    let asked = 16 << 20
    let kernel = try PrivateUevents(receiveBuffer: asked)
    #expect(cu_receive_buffer(kernel.monitor.descriptor) >= asked)
    let machine = try UdevMonitor()
    #expect(cu_receive_buffer(machine.descriptor) >= asked)
  }
}

@Suite struct UdevGroupTests {
  @Test func `udevd is listened to where it runs, else the kernel`() throws {
    let directory = try TemporaryTree.makeDirectory()
    defer { TemporaryTree.removeAll(directory) }
    let control = directory.appending("control")
    #expect(UdevMonitor.Group.present(control: control) == .kernel)
    #expect(UdevMonitor.Group.present(control: control.appending("deeper")) == .kernel)
    #expect(unsafe mkfifo(control.string, 0o600) == 0)
    #expect(UdevMonitor.Group.present(control: control) == .udev)
  }

  @Test(arguments: UdevMonitor.Group.allCases)
  func `anybody may listen, and waits for nothing`(group: UdevMonitor.Group) throws {
    // The machine's own events: there may be some, in theory.
    let monitor = try UdevMonitor(group: group)
    try monitor.drain { _ in }
    #expect(fcntl(monitor.descriptor, F_GETFD) & FD_CLOEXEC != 0)
    #expect(fcntl(monitor.descriptor, F_GETFL) & CInt(O_NONBLOCK) != 0)
  }

  @Test func `a monitor that ends closes its socket`() throws {
    func isOpen(_ socket: FilePath) throws -> Bool {
      let numbers = try SysfsNode(path: "/proc/self/fd").entries()
      // By its link, which names it for good: other tests open and close meanwhile.
      return numbers.contains { (try? Self.link($0)) == socket }
    }
    var monitor: UdevMonitor? = try UdevMonitor()
    let number = try #require(monitor).descriptor
    let socket = try #require(try Self.link("\(number)"))
    #expect(try isOpen(socket))
    monitor = nil
    #expect(try !isOpen(socket))
  }

  private static func link(_ number: String) throws -> FilePath? {
    try SysfsNode(path: "/proc/self/fd")[number].linkTarget()
  }
}
