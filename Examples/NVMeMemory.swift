import DeviceMemory
import DeviceSources
import GenPool
import NVMe
import PCIDevices

/// Divides an NVMe controller's memory buffer as a driver does: a submission queue, a PRP list and data,
/// each where the controller can find it. `nvme-memory 0000:01:00.0 [RULE-TO-BREAK]`, on the machine or
/// below `$GENPOOL_SYSFS_ROOT`.
@main
enum NVMeMemory {
  static let page: ByteCount = .kibibytes(4)
  static let queueSize: ByteCount = 64 * 64
  static let blocks = 8
  static let listSize: ByteCount = 64  // 8 entries of 8 bytes

  static func main() throws {
    let name = CommandLine.arguments.dropFirst().first ?? "0000:01:00.0"
    guard let device = PCIAddress(name) else { return print("\(name) is no PCI address") }

    let allowed = Set(CommandLine.arguments.dropFirst(2))
    let controller = try NVMeController(at: device, source: SysfsSource(), allowed: allowed)
    let region = SharedRegion(try Region(mapping: controller.open(.buffer).intoRange()))
    let pool = Pool(granule: GranuleSize(order: 6))
    try pool.add(region)
    let whole = pool.available

    // Queues begin at a page; a PRP list must not cross one; data may begin at any double word.
    let queue = try pool.allocateDMA(queueSize, alignment: page, zeroed: true)
    let list = try pool.allocateDMA(listSize, alignment: listSize)
    let data = try pool.allocateDMA(page * UInt64(blocks), alignment: page)
    guard let queueBus = queue.bus, let listBus = list.bus, let dataBus = data.bus else {
      return print("nobody knows the bus address of \(device)")
    }
    for index in 0..<blocks {
      let place = list.start - region.region.mapping.start + 8 * UInt64(index)
      try region.region.mapping.store((dataBus + page * UInt64(index)).rawValue, at: place)
    }
    try region.region.write(Array("genpool".utf8), at: data.start - region.region.mapping.start)
    print("submission queue: bus \(queueBus)")
    print("PRP list:         bus \(listBus)")
    print("data:             bus \(dataBus) to \(dataBus + page * UInt64(blocks - 1))")

    for allocation in [data, list, queue] { try pool.free(allocation) }
    precondition(pool.available == whole)
    try pool.destroy()
  }
}
