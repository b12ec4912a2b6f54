import CGenPool.Private
import DeviceSources
import GenPool
import PCIDevices

/// Makes what Swift makes at first use: a child that is forked while another thread does so would
/// wait for that thread for ever, and a program's thread sanitizer would report how Swift's runtime
/// shares it. Costs a small pool of addresses that is used once, and two tables of rules.
@c @implementation
public func gp_prepare() {
  usePool()
  Openers.prepare()
  ManagedDevice.prepare()
  _ = AttachRule.sysfs.count + AttachRule.vfio.count
}

/// Goes each way that programs' threads may be the first to go at the same time.
private func usePool() {
  let pool = Pool(granule: .page, name: "")
  _ = try? pool.allocate(1)
  do throws(PoolError) {
    try pool.add(start: VirtualAddress(1 << 20), size: ByteCount(1 << 20), physical: nil)
    let cache = try pool.cache()
    try cache.free(try cache.allocate(1))
    var addresses: [UInt] = [0, 0]
    try unsafe addresses.withUnsafeMutableBufferPointer { (places) throws(PoolError) in
      guard let first = places.baseAddress else { return }
      try unsafe pool.allocate(count: 2, of: 1, fit: nil, into: first)
      try unsafe pool.free(count: 2, of: 1, at: first)
    }
    try pool.free(try pool.allocateDMA(1, alignment: 4096, zeroed: false))
    _ = try pool.allocate(ByteCount(1 << 30), fit: .best)
  } catch {
    _ = (pool.statistics, pool.chunks.count, pool.holdings.count, error.description)
  }
}
