public import CGenPool
import GenPool

extension PoolHandle {
  /// Does what a pool may refuse for a batch, and answers as C is answered.
  @inline(__always)
  fileprivate func batch(
    _ count: Int, _ body: (Pool) throws(PoolError) -> Void
  ) -> CInt {
    guard count >= 0 else {
      ErrorText.set("a batch of \(UInt(bitPattern: count)): no array has so many addresses")
      return -PoolError.emptyRequest.errorNumber
    }
    return withPool { pool in
      do throws(PoolError) {
        try body(pool)
        return 0
      } catch {
        return Self.answer(error)
      }
    }
  }

  @inline(never)
  private static func answer(_ error: PoolError) -> CInt {
    switch error {
    case .forked, .fitOutOfRange, .fitNotFree: Misuse.fatal("a batch: \(error)")
    default: break
    }
    ErrorText.set(error)
    return -error.errorNumber
  }
}

@c @implementation
public func genpool_alloc_batch(
  _ pool: UnsafeMutablePointer<gen_pool>, _ size: Int, _ count: Int,
  _ addrs: UnsafeMutablePointer<UInt>
) -> CInt {
  let handle = unsafe PoolHandle(pool)
  var fit: Fit?
  if !handle.isFirstFit {
    fit = unsafe Algorithm.fit(pool.pointee.algo, pool.pointee.data, for: handle)
    guard fit != nil else {
      ErrorText.set("a batch: the algorithm's data names no place")
      return -PoolError.alignmentIsZero.errorNumber
    }
  }
  return handle.batch(count) { (_) throws(PoolError) in
    try unsafe handle.allocateBatch(
      count: count, of: ByteCount(UInt64(UInt(bitPattern: size))), fit: fit, into: addrs)
  }
}

@c @implementation
public func genpool_free_batch(
  _ pool: UnsafeMutablePointer<gen_pool>, _ size: Int, _ count: Int, _ addrs: UnsafePointer<UInt>
) -> CInt {
  let handle = unsafe PoolHandle(pool)
  return handle.batch(count) { (_) throws(PoolError) in
    try unsafe handle.freeBatch(
      count: count, of: ByteCount(UInt64(UInt(bitPattern: size))), at: addrs)
  }
}
