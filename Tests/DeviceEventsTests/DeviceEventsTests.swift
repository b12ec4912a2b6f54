import DeviceEmulation
import DeviceEvents
import DeviceFixtures
import LinuxSystem
import PCIDevices
import SystemPackage
import Testing

@Suite struct DeviceEventsTests {
  @Test func `an emulated tree is watched by inotify`() throws {
    let tree = try TemporaryTree("memory")
    let events = try DeviceEvents.watch(DeviceTree(root: tree.root))
    #expect(events is TreeWatch)
    try tree.tree.remove(tree.address)
    #expect(events.isReadable())
    #expect(try events.collect() == [.removed(tree.address)])
  }

  @Test func `the kernel's sysfs is watched by udev, whatever leads to it`() throws {
    let tree = try TemporaryTree()
    try tree.link("/link", to: "/sys")
    for path in ["/sys", "/proc/self/root/sys", tree.path("/link")] as [FilePath] {
      #expect(try DeviceEvents.watch(DeviceTree(root: SysfsRoot(path))) is UdevMonitor)
    }
  }

  @Test func `a link to an emulated tree is watched by inotify`() throws {
    let tree = try TemporaryTree()
    let outside = tree.root.path.removingLastComponent().appending("link")
    try tree.link("/link", to: tree.root.path.string)
    try tree.move("/link", to: "/../link")
    let events = try DeviceEvents.watch(DeviceTree(root: SysfsRoot(outside)))
    let address = try tree.tree.add(.parse("memory"))
    #expect(try events.collect() == [.added(address)])
  }

  @Test func `a root that is not there is an error that names it`() throws {
    let error = #expect(throws: SystemError.self) {
      try DeviceEvents.watch(DeviceTree(root: SysfsRoot("/nowhere")))
    }
    #expect(error?.description == "open /nowhere: no such file or directory")
  }
}
