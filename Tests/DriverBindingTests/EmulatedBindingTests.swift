import DeviceEmulation
import DeviceFixtures
import DriverBinding
import PCIDevices
import Testing

/// Binding and unbinding in an emulated tree that does the kernel's part.
@Suite struct EmulatedBindingTests {
  private func tree(_ device: String) throws -> (TemporaryTree, DeviceBinding) {
    let tree = try TemporaryTree(device)
    let emulated = tree.tree
    let binding = DeviceBinding(tree: DeviceTree(root: tree.root)) {
      text, file throws(DeviceError) in
      do throws(EmulationError) {
        try emulated.answer(text, writtenTo: file)
      } catch {
        throw error.asDeviceError
      }
    }
    return (tree, binding)
  }

  private func driver(_ tree: TemporaryTree) throws -> String? {
    try DeviceTree(root: tree.root).device(at: tree.address).driver
  }

  @Test(arguments: ["nvme,cmb=1M,driver=nvme", "nvme,cmb=1M"])
  func `a device is bound to another driver, and given back`(device: String) throws {
    let (tree, binding) = try tree(device)
    try tree.makeDirectory("/bus/pci/drivers/uio_pci_generic")
    let before = try driver(tree)
    try binding.carryOut(binding.plan(binding: tree.address, to: "uio_pci_generic"))
    #expect(try driver(tree) == "uio_pci_generic")
    #expect(try tree.root["bus/pci/drivers/uio_pci_generic/\(tree.address)"].exists())
    try binding.carryOut(binding.plan(unbinding: tree.address))
    #expect(try driver(tree) == before)
    #expect(try !tree.root["bus/pci/drivers/uio_pci_generic/\(tree.address)"].exists())
    #expect(try tree.text("driver_override") == "")
  }

  @Test func `only what a kernel would do is done`() throws {
    let (tree, _) = try tree("nvme,cmb=1M,driver=nvme")
    let address = "\(tree.address)"
    for (text, file) in [
      ("0000:09:00.0", "bus/pci/drivers/nvme/unbind"), (address, "bus/pci/drivers/other/unbind"),
      ("nonsense", "bus/pci/drivers/nvme/unbind"), (address, "bus/pci/drivers_probe"),
      (address, "bus/pci/devices/\(address)/enable"),
      ("01:00.0", "bus/pci/drivers/nvme/unbind"),
    ] {
      try tree.tree.answer(text, writtenTo: file)
      #expect(try driver(tree) == "nvme", "\(text) \(file)")
    }
    try tree.tree.answer(address, writtenTo: "bus/pci/drivers/nvme/unbind")
    #expect(try driver(tree) == nil)
    try tree.tree.answer(address, writtenTo: "bus/pci/drivers/absent/bind")
    #expect(try driver(tree) == nil)
    try tree.tree.answer(address, writtenTo: "bus/pci/drivers/nvme/bind")
    #expect(try driver(tree) == "nvme")
    // Pulled out with whatever driver it has by then.
    try tree.tree.answer(address, writtenTo: "bus/pci/devices/\(address)/driver/unbind")
    try tree.tree.answer(address, writtenTo: "bus/pci/drivers_probe")
    #expect(try driver(tree) == "nvme")
    try tree.tree.remove(tree.address)
    #expect(try tree.root["bus/pci/drivers/nvme"].entries() == ["bind", "unbind"])
  }
}
