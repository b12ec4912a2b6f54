import DeviceFixtures
import DeviceMemory
import DeviceSources
import DriverBinding
import Glibc
import LinuxSystem
import PCIDevices
import SystemPackage
import Testing

/// Who may change a device's driver while genpool processes use it.
@Suite struct BindingLockTests {
  private func open(_ tree: TemporaryTree) throws -> DeviceRange {
    try SysfsSource(root: tree.root).open(BARRequest(device: tree.address, bar: 2))
  }

  /// What VFIO's user has: the device for itself.
  private func lockForVFIO(_ tree: TemporaryTree) throws -> Descriptor {
    let file = try Descriptor.openLock(
      "\(tree.address)", in: tree.path("/genpool-locks").string, isTrusted: false)
    // SAFETY: `flock` lives through the call.
    var lock = flock(
      l_type: Int16(F_WRLCK), l_whence: Int16(SEEK_SET), l_start: 1, l_len: 1, l_pid: 0)
    // F_OFD_SETLK, which Swift does not see.
    try #require(unsafe fcntl(file.rawValue, 37, &lock) == 0)
    return file
  }

  @Test(arguments: ["nvme,cmb=64M,group=1", "nvme,cmb=64M,group=1,driver=vfio-pci"])
  func `a device whose memory is open through sysfs keeps its driver, vfio-pci too`(
    device: String
  ) throws {
    let (tree, binding) = try TemporaryTree.binding(device)
    try tree.makeDirectory("/bus/pci/drivers/uio_pci_generic")
    var plans = [try binding.plan(binding: tree.address, to: "uio_pci_generic")]
    if device.contains("driver") {
      try tree.setBound(from: "nvme")
      plans.append(try binding.plan(unbinding: tree.address))
    }
    let range = try open(tree)
    for plan in plans {
      let error = try #require(throws: DeviceError.self) { try binding.carryOut(plan) }
      #expect(error.errno == .resourceBusy)
      #expect(error.description.contains("open through sysfs; detach its pools first"), "\(error)")
      #expect(try tree.text("driver_override") == "genpool")
      #expect(try tree.text("/bus/pci/drivers_probe") == "")
    }
    _ = consume range
  }

  @Test func `who has it through VFIO is asked for it by the kernel`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,cmb=64M,group=1")
    try tree.setBound(from: "nvme")
    let lock = try lockForVFIO(tree)
    let error = try #require(throws: DeviceError.self) {
      try binding.carryOut(binding.plan(unbinding: tree.address))
    }
    #expect(error.description.contains("an emulated tree has no kernel"), "\(error)")
    #expect(try tree.text("/bus/pci/drivers/vfio-pci/unbind") == "\(tree.address)")
    _ = consume lock
  }

  @Test func `two do not bind a device at a time`() throws {
    let (tree, binding) = try TemporaryTree.binding("nvme,cmb=64M,group=1,driver=nvme")
    let lock = try lockForVFIO(tree)
    let error = try #require(throws: DeviceError.self) {
      try binding.carryOut(binding.plan(binding: tree.address))
    }
    #expect(error.errno == .resourceBusy)
    #expect(error.description.contains("another process is binding it"), "\(error)")
    #expect(try tree.text("driver_override") == "(null)")
    #expect(try !tree.hasRecord())
    _ = consume lock
  }

  @Test
  func `a device that is open through VFIO is not opened through sysfs, and the error says why`()
    throws
  {
    let tree = try TemporaryTree("nvme,cmb=1M,driver=vfio-pci")
    let lock = try lockForVFIO(tree)
    let error = try #require(throws: DeviceError.self) { _ = try open(tree) }
    #expect(error.errno == .resourceBusy)
    #expect(error.description.contains("another process has it open through VFIO"), "\(error)")
    #expect(try tree.state() == .untouched)
    _ = consume lock
  }
}
