import DeviceEmulation
import DeviceFixtures
import DeviceSources
import PCIDevices
import SystemPackage
import Testing

/// An emulated device that is pulled out, as those see it who have it open.
@Suite struct EmulatedRemovalTests {
  private func head(_ config: FileDescriptor) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 64)
    let count = try unsafe bytes.withUnsafeMutableBytes {
      try unsafe config.read(fromAbsoluteOffset: 0, into: $0)
    }
    return Array(bytes.prefix(count))
  }

  @Test func `configuration space reads as all-ones, and the device is not present`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let source = SysfsSource(root: tree.root)
    let range = try source.open(
      BARRequest(device: tree.address, bar: 2, allowed: ["hotplug"]))
    let config = try FileDescriptor.open(tree.path("config"), .readOnly)
    defer { try? config.close() }
    #expect(source.isPresent(tree.address))
    #expect(try head(config).prefix(4) == [0x36, 0x1b, 0x10, 0x00])
    try tree.tree.remove(tree.address)
    #expect(!source.isPresent(tree.address))
    #expect(try head(config) == [UInt8](repeating: 0xff, count: 64))
    // Another device at the address is not the one that was opened.
    _ = try tree.tree.add(EmulatedDevice.parse("nvme,cmb=1M,address=\(tree.address)"))
    #expect(!source.isPresent(tree.address))
    #expect(try head(config) == [UInt8](repeating: 0xff, count: 64))
    withExtendedLifetime(range) {}
  }

  @Test func `a device that answers with all-ones is not present, though its files are there`()
    throws
  {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let source = SysfsSource(root: tree.root)
    let range = try source.open(BARRequest(device: tree.address, bar: 2))
    let config = try FileDescriptor.open(tree.path("config"), .readWrite)
    defer { try? config.close() }
    let before = try head(config)
    _ = try config.writeAll(toAbsoluteOffset: 0, [UInt8](repeating: 0xff, count: 64))
    #expect(!source.isPresent(tree.address))
    _ = try config.writeAll(toAbsoluteOffset: 0, before)
    #expect(source.isPresent(tree.address))
    withExtendedLifetime(range) {}
  }
}
