import DeviceEmulation
import DeviceFixtures
import DeviceMemory
import DeviceSources
import Foundation
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

  @Test func `memory that was moved, whose file was made anew, or that is gone is told apart`()
    throws
  {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let source = SysfsSource(root: tree.root)
    let range = try source.open(BARRequest(device: tree.address, bar: 2))
    func presence() -> RangePresence? { range.lender?.presence() }
    #expect(presence() == .inPlace)
    let table = try tree.text("resource")
    // A table that makes no sense tells nothing of the BAR.
    for text in ["nonsense\n", ""] {
      try tree.write("resource", text)
      #expect(presence() == .inPlace, "\(text)")
    }
    try tree.write("resource", table)
    try tree.write(
      "resource", line: 3, "0x0000009000000000 0x00000090000fffff 0x000000000014220c")
    #expect(presence() == .moved)
    try tree.write("resource", table)
    #expect(presence() == .inPlace)
    // Resizing another BAR of the device makes all of its files anew.
    try tree.move("resource2", to: "resource2.old")
    tree.remove("resource2_wc")
    #expect(presence() == .fileReplaced)
    try tree.write("resource2", [UInt8](repeating: 0, count: 1 << 20))
    #expect(presence() == .fileReplaced && !source.isPresent(tree.address))
    try tree.tree.remove(tree.address)
    #expect(presence() == .gone)
    _ = try tree.tree.add(EmulatedDevice.parse("nvme,cmb=1M,address=\(tree.address)"))
    #expect(presence() == .gone, "another device is not the one that was opened")
    withExtendedLifetime(range) {}
  }

  @Test func `a device that answers with all-ones for a moment, as in a reset, is present`() throws
  {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let source = SysfsSource(root: tree.root)
    let range = try source.open(BARRequest(device: tree.address, bar: 2))
    let config = try FileDescriptor.open(tree.path("config"), .readWrite)
    defer { try? config.close() }
    let before = try head(config)
    // A thread that comes late is no device in reset: it has several tries.
    var isPresent = false
    for _ in 0..<50 where !isPresent {
      _ = try config.writeAll(toAbsoluteOffset: 0, [UInt8](repeating: 0xff, count: 64))
      let end = DispatchSemaphore(value: 0)
      Thread.detachNewThread {
        usleep(20_000)
        _ = try? config.writeAll(toAbsoluteOffset: 0, before)
        end.signal()
      }
      isPresent = source.isPresent(tree.address)
      end.wait()
    }
    #expect(isPresent)
    withExtendedLifetime(range) {}
  }
}
