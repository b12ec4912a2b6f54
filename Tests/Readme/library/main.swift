import DeviceMemory
import DeviceSources
import GenPool
import Glibc
import PCIDevices

/// Memory for a queue, in BAR 2 of a device that no driver uses.
func makeQueue(in device: PCIAddress) throws {
  let region = try Region(mapping: SysfsSource().open(BARRequest(device: device, bar: 2)))
  let pool = Pool(granule: .page)
  try pool.add(region)  // the pool unmaps it in the end

  let queue = try pool.allocateDMA(.kibibytes(64), alignment: .kibibytes(64), zeroed: true)
  print("CPU \(queue.start), device \(queue.bus.map(String.init(describing:)) ?? "unknown")")
  try pool.free(queue)
}

do {
  if let device = PCIAddress("0000:01:00.0") { try makeQueue(in: device) }
} catch {
  print(error)  // operation, subject, cause: an error that leaves main.swift is a crash
  exit(1)
}
