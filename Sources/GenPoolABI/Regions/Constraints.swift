public import CGenPool
import GenPool
import Glibc

@c @implementation
public func genpool_dma_alloc(
  _ pool: UnsafeMutablePointer<gen_pool>, _ size: Int,
  _ constraints: UnsafePointer<genpool_constraints>, _ dma: UnsafeMutablePointer<dma_addr_t>?,
  _ memory: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> CInt {
  var known = genpool_constraints()
  let result = unsafe SizedStruct.read(constraints, into: &known)
  guard result == 0, let memory = unsafe memory else {
    ErrorText.set("allocate: the constraints' size is none, or fields of a later version are set")
    return result == 0 ? -EINVAL : result
  }
  let alignment = ByteCount(known.alignment)
  guard known.alignment == 0 || alignment.isPowerOfTwo else {
    ErrorText.set("allocate: an alignment of \(alignment) is no power of two")
    return -EINVAL
  }
  let handle = unsafe PoolHandle(pool)
  let ownFit: Fit?
  if known.alignment == 0, !handle.isFirstFit {
    ownFit = unsafe Algorithm.fit(pool.pointee.algo, pool.pointee.data, for: handle)
    guard ownFit != nil else { return -EINVAL }
  } else {
    ownFit = nil
  }
  return handle.withPool { pool in
    do throws(PoolError) {
      let allocation = try pool.allocateDMA(
        ByteCount(UInt64(UInt(bitPattern: size))),
        alignment: known.alignment == 0 ? nil : alignment, fit: ownFit,
        meeting: Constraints(
          below: known.below == 0 ? nil : BusAddress(known.below),
          boundary: known.boundary == 0 ? nil : ByteCount(known.boundary)))
      unsafe memory.pointee = PoolHandle.hand(allocation, of: pool, dma)
      return 0
    } catch {
      ErrorText.set(error)
      PoolHandle.tell(error)
      return -error.errno
    }
  }
}
