import DeviceEmulation
import DeviceFixtures
import DeviceMemory
import DeviceSources
import GenPool
import Glibc
import LinuxSystem
import PCIDevices
import SystemPackage
import Testing

/// Files of emulated BARs that were made shorter.
@Suite struct TruncationTests {
  private func open(_ tree: TemporaryTree) throws -> DeviceRange {
    try SysfsSource(root: tree.root).open(BARRequest(device: tree.address, bar: 2))
  }

  private func lender(of range: borrowing DeviceRange) throws -> any DescriptorLender {
    let lender = range.lender
    return try #require(lender)
  }

  private func size(_ descriptor: borrowing Descriptor) throws -> Int {
    var status = stat()
    try #require(unsafe fstat(descriptor.rawValue, &status) == 0)
    return status.st_size
  }

  @Test(arguments: [0, 1, 4096, (1 << 20) - 1]) func `a file comes back to its length`(
    length: Int
  ) throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let range = try open(tree)
    let lender = try lender(of: range)
    #expect(try lender.restoreLength() == .intact)
    let lent = try lender.lend(for: Lending(rawValue: 1))
    #expect(ftruncate(lent.rawValue, length) == 0)
    #expect(try lender.restoreLength() == .truncated(to: ByteCount(UInt64(length))))
    #expect(try size(range.descriptor) == 1 << 20)
    #expect(try lender.restoreLength() == .intact)
  }

  @Test func `a file that was made longer stays so`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let range = try open(tree)
    let lender = try lender(of: range)
    #expect(ftruncate(range.descriptor.rawValue, 2 << 20) == 0)
    #expect(try lender.restoreLength() == .intact)
    #expect(try size(range.descriptor) == 2 << 20)
  }

  @Test func `the file of a device that was removed stays as it is`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let range = try open(tree)
    let lender = try lender(of: range)
    let lent = try lender.lend(for: Lending(rawValue: 1))
    try tree.tree.remove(tree.address)
    #expect(ftruncate(lent.rawValue, 0) == 0)
    #expect(try lender.restoreLength() == .notApplicable)
    #expect(try size(range.descriptor) == 0)
  }

  @Test func `a file that was too short from the start is refused with the cure`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    #expect(unsafe truncate(tree.path("resource2").string, 4096) == 0)
    let error = try #require(throws: DeviceError.self) { _ = try open(tree) }
    #expect(error.description.contains("it has 4096 bytes"))
    #expect(error.description.contains("truncate -s 1048576 restores it"))
  }
}
