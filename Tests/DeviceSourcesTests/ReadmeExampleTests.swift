import DeviceFixtures
import DeviceMemory
import DeviceSources
import GenPool
import PCIDevices
import Testing

/// The library's example in the README, word for word but for the root of the tree.
@Suite struct ReadmeExampleTests {
  @Test func `ten lines lead from a BAR to memory for a device`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    let source = SysfsSource(root: tree.root)
    guard let device = PCIAddress("0000:01:00.0") else { return }
    let region = try Region(mapping: source.open(BARRequest(device: device, bar: 2)))
    let pool = Pool(granule: .page)
    try pool.add(region)  // the pool unmaps it in the end

    let queue = try pool.allocateDMA(.kibibytes(64), alignment: .kibibytes(64), zeroed: true)
    print("CPU \(queue.start), device \(queue.bus.map(String.init(describing:)) ?? "unknown")")
    try pool.free(queue)

    #expect(queue.bus?.isAligned(to: .kibibytes(64)) == true)
    #expect(pool.available == .mebibytes(64))
  }
}
