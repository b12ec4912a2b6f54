public import CGenPool
import GenPool

extension PoolHandle {
  /// Allocates for a device as `allocate` says, and tells where the memory is for it.
  func allocateDMA(
    _ dma: UnsafeMutablePointer<dma_addr_t>?,
    _ allocate: (Pool) throws(PoolError) -> DMAAllocation?
  ) -> UnsafeMutableRawPointer? {
    unsafe withPool { pool in
      let found: DMAAllocation?
      do throws(PoolError) {
        found = try allocate(pool)
      } catch {
        Self.tell(error)
        return nil
      }
      guard let allocation = found else { return nil }
      if let dma = unsafe dma {
        unsafe dma.pointee =
          allocation.bus?.rawValue ?? allocation.physical?.rawValue
          ?? pool.kernelPhysicalAddress(of: allocation.start)
      }
      return unsafe UnsafeMutableRawPointer(bitPattern: UInt(allocation.start.rawValue))
    }
  }

  func allocateDMA(
    _ size: Int, _ dma: UnsafeMutablePointer<dma_addr_t>?, _ algorithm: genpool_algo_t?,
    _ data: UnsafeMutableRawPointer?, zeroed: Bool
  ) -> UnsafeMutableRawPointer? {
    guard let fit = unsafe Algorithm.fit(algorithm, data, for: self) else { return nil }
    return unsafe allocateDMA(dma) { (pool) throws(PoolError) in
      try pool.allocateDMA(
        ByteCount(UInt64(UInt(bitPattern: size))), fit: fit, zeroed: zeroed)
    }
  }

  func allocateDMA(
    _ size: Int, _ dma: UnsafeMutablePointer<dma_addr_t>?, align: CInt, zeroed: Bool
  ) -> UnsafeMutableRawPointer? {
    // 0 and less fail, or never return, in the kernel.
    guard align > 0 else { return nil }
    return unsafe allocateDMA(dma) { (pool) throws(PoolError) in
      try pool.allocateDMA(
        ByteCount(UInt64(UInt(bitPattern: size))), alignment: ByteCount(UInt64(align)),
        zeroed: zeroed)
    }
  }
}

@c @implementation
public func gen_pool_dma_alloc(
  _ pool: UnsafeMutablePointer<gen_pool>, _ size: Int, _ dma: UnsafeMutablePointer<dma_addr_t>?
) -> UnsafeMutableRawPointer? {
  unsafe gen_pool_dma_alloc_algo(pool, size, dma, pool.pointee.algo, pool.pointee.data)
}

@c @implementation
public func gen_pool_dma_alloc_algo(
  _ pool: UnsafeMutablePointer<gen_pool>?, _ size: Int, _ dma: UnsafeMutablePointer<dma_addr_t>?,
  _ algo: genpool_algo_t, _ data: UnsafeMutableRawPointer?
) -> UnsafeMutableRawPointer? {
  guard let pool = unsafe pool else { return nil }
  return unsafe PoolHandle(pool).allocateDMA(size, dma, algo, data, zeroed: false)
}

@c @implementation
public func gen_pool_dma_alloc_align(
  _ pool: UnsafeMutablePointer<gen_pool>?, _ size: Int, _ dma: UnsafeMutablePointer<dma_addr_t>?,
  _ align: CInt
) -> UnsafeMutableRawPointer? {
  guard let pool = unsafe pool else { return nil }
  return unsafe PoolHandle(pool).allocateDMA(size, dma, align: align, zeroed: false)
}

@c @implementation
public func gen_pool_dma_zalloc(
  _ pool: UnsafeMutablePointer<gen_pool>, _ size: Int, _ dma: UnsafeMutablePointer<dma_addr_t>?
) -> UnsafeMutableRawPointer? {
  unsafe gen_pool_dma_zalloc_algo(pool, size, dma, pool.pointee.algo, pool.pointee.data)
}

@c @implementation
public func gen_pool_dma_zalloc_algo(
  _ pool: UnsafeMutablePointer<gen_pool>?, _ size: Int, _ dma: UnsafeMutablePointer<dma_addr_t>?,
  _ algo: genpool_algo_t, _ data: UnsafeMutableRawPointer?
) -> UnsafeMutableRawPointer? {
  guard let pool = unsafe pool else { return nil }
  return unsafe PoolHandle(pool).allocateDMA(size, dma, algo, data, zeroed: true)
}

@c @implementation
public func gen_pool_dma_zalloc_align(
  _ pool: UnsafeMutablePointer<gen_pool>?, _ size: Int, _ dma: UnsafeMutablePointer<dma_addr_t>?,
  _ align: CInt
) -> UnsafeMutableRawPointer? {
  guard let pool = unsafe pool else { return nil }
  return unsafe PoolHandle(pool).allocateDMA(size, dma, align: align, zeroed: true)
}
