public import CGenPool
import GenPool

@c @implementation
public func gen_pool_virt_to_phys(_ pool: UnsafeMutablePointer<gen_pool>, _ addr: UInt)
  -> phys_addr_t
{
  unsafe PoolHandle(pool).withPool { $0.kernelPhysicalAddress(of: VirtualAddress(UInt64(addr))) }
}

@c @implementation
public func gen_pool_has_addr(
  _ pool: UnsafeMutablePointer<gen_pool>, _ start: UInt, _ size: Int
) -> Bool {
  unsafe PoolHandle(pool).withPool {
    $0.contains(VirtualAddress(UInt64(start)), size: ByteCount(UInt64(UInt(bitPattern: size))))
  }
}

@c @implementation
public func gen_pool_avail(_ pool: UnsafeMutablePointer<gen_pool>) -> Int {
  unsafe PoolHandle(pool).withPool { Int(truncatingIfNeeded: $0.available.rawValue) }
}

@c @implementation
public func gen_pool_size(_ pool: UnsafeMutablePointer<gen_pool>) -> Int {
  unsafe PoolHandle(pool).withPool { Int(truncatingIfNeeded: $0.size.rawValue) }
}

@c @implementation
public func gen_pool_for_each_chunk(
  _ pool: UnsafeMutablePointer<gen_pool>,
  _ function:
    @convention(c) (
      UnsafeMutablePointer<gen_pool>, UnsafeMutablePointer<gen_pool_chunk>, UnsafeMutableRawPointer?
    ) -> Void,
  _ data: UnsafeMutableRawPointer?
) {
  // Without locks, as the kernel: the function may use the pool.
  unsafe PoolHandle(pool).pool.forEachUnlockedChunk { chunk, words in
    let start = UInt(chunk.start.rawValue)
    var shown = unsafe gen_pool_chunk(
      avail: atomic_long_t(counter: Int(truncatingIfNeeded: chunk.available.rawValue)),
      phys_addr: chunk.physical?.rawValue ?? .max,
      owner: UnsafeMutableRawPointer(bitPattern: chunk.owner?.rawValue ?? 0),
      start_addr: start, end_addr: start &+ UInt(chunk.size.rawValue) &- 1, bits: words)
    unsafe function(pool, &shown, data)
  }
}

@c @implementation
public func gen_pool_set_algo(
  _ pool: UnsafeMutablePointer<gen_pool>, _ algo: genpool_algo_t?, _ data: UnsafeMutableRawPointer?
) {
  unsafe pool.pointee.algo = algo ?? gen_pool_first_fit
  unsafe pool.pointee.data = data
}
