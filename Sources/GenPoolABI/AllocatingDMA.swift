public import CGenPool
import GenPool

extension PoolHandle {
  /// Allocates for a device with an algorithm, and stores where the memory is for it.
  func allocateDMA(
    _ size: Int, _ dma: UnsafeMutablePointer<dma_addr_t>?, _ algorithm: genpool_algo_t?,
    _ data: UnsafeMutableRawPointer?, zeroed: Bool
  ) -> UnsafeMutableRawPointer? {
    guard let fit = unsafe Algorithm.fit(algorithm, data, for: self) else { return nil }
    return unsafe withPool { pool in
      do throws(PoolError) {
        let allocation = try allocatingDMA(size, fit) { () throws(PoolError) in
          try pool.allocateDMA(
            ByteCount(UInt64(UInt(bitPattern: size))), fit: fit, zeroed: zeroed)
        }
        return unsafe hand(allocation, of: pool, dma)
      } catch {
        Self.tell(error)
        return nil
      }
    }
  }

  /// Allocates for a device at a multiple of `align`.
  func allocateDMA(
    _ size: Int, _ dma: UnsafeMutablePointer<dma_addr_t>?, align: CInt, zeroed: Bool
  ) -> UnsafeMutableRawPointer? {
    // 0 and less fail, or never return, in the kernel.
    guard align > 0 else { return nil }
    return unsafe withPool { pool in
      do throws(PoolError) {
        let alignment = ByteCount(UInt64(align))
        let allocation = try allocatingDMA(size, .firstAligned(alignment)) {
          () throws(PoolError) in
          try pool.allocateDMA(
            ByteCount(UInt64(UInt(bitPattern: size))), alignment: alignment, zeroed: zeroed)
        }
        return unsafe hand(allocation, of: pool, dma)
      } catch {
        Self.tell(error)
        return nil
      }
    }
  }

  /// Tells a caller where an allocation is, for the CPU and, if it asks, for a device. Memory of a
  /// device whose bus address is not known goes back to the pool then.
  /// - Returns: nil in that case, with the cause in ``ErrorText``.
  @inline(__always)
  func hand(
    _ allocation: DMAAllocation, of pool: Pool, _ dma: UnsafeMutablePointer<dma_addr_t>?
  ) -> UnsafeMutableRawPointer? {
    if let dma = unsafe dma {
      guard let address = allocation.bus?.rawValue ?? pool.kernelDMAAddress(of: allocation.start)
      else {
        takeBack(allocation, of: pool)
        return nil
      }
      unsafe dma.pointee = address
    }
    return unsafe UnsafeMutableRawPointer(bitPattern: UInt(allocation.start.rawValue))
  }

  @inline(never)
  private func takeBack(_ allocation: DMAAllocation, of pool: Pool) {
    do throws(PoolError) {
      try freeing(allocation.start, allocation.size)
    } catch {
      // The pool was destroyed meanwhile: nothing is left to give back to.
    }
    ErrorText.set(
      "allocate for a device: the bus address of the memory at \(allocation.start) is not known "
        + "(a virtual function's or an Enhanced Allocation BAR, or its device is gone)")
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
