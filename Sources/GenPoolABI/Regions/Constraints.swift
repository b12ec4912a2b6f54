public import CGenPool
import GenPool
import Glibc
import PCIDevices

@c @implementation
public func genpool_dma_alloc(
  _ pool: UnsafeMutablePointer<gen_pool>, _ size: Int,
  _ constraints: UnsafePointer<genpool_constraints>, _ dma: UnsafeMutablePointer<dma_addr_t>?,
  _ memory: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> CInt {
  var known = unsafe genpool_constraints()
  let result = unsafe SizedStruct.read(constraints, into: &known)
  guard result == 0, let memory = unsafe memory else {
    ErrorText.set("allocate: the constraints' size is none, or fields of a later version are set")
    return result == 0 ? -EINVAL : result
  }
  let alignment = unsafe ByteCount(known.alignment)
  guard unsafe known.alignment == 0 || alignment.isPowerOfTwo else {
    ErrorText.set("allocate: an alignment of \(alignment) is no power of two")
    return -EINVAL
  }
  let initiator: DeviceKey?
  switch unsafe known.initiator.map({ unsafe String(cString: $0) }) {
  case .some(let name):
    guard let address = PCIAddress(name) else {
      ErrorText.set("allocate: the initiator \(name) is no PCI address, as 0000:01:00.0 is one")
      return -EINVAL
    }
    initiator = DeviceKey("\(address)")
  case nil: initiator = nil
  }
  let handle = unsafe PoolHandle(pool)
  let ownFit: Fit?
  if unsafe known.alignment == 0, !handle.isFirstFit {
    ownFit = unsafe Algorithm.fit(pool.pointee.algo, pool.pointee.data, for: handle)
    guard ownFit != nil else { return -EINVAL }
  } else {
    ownFit = nil
  }
  let asked = unsafe Constraints(
    below: known.below == 0 ? nil : BusAddress(known.below),
    boundary: known.boundary == 0 ? nil : ByteCount(known.boundary),
    node: known.node == 0 ? nil : NUMANode(Int(known.node) - 1),
    uses: ChunkUses(rawValue: known.uses), initiator: initiator)
  let isAligned = unsafe known.alignment != 0
  return handle.withPool { pool in
    do throws(PoolError) {
      // The record names the place that the constraints led to, as a fixed one.
      let allocation = try handle.allocatingDMA(size, .custom { _, _ in nil }) {
        () throws(PoolError) in
        try pool.allocateDMA(
          ByteCount(UInt64(UInt(bitPattern: size))), alignment: isAligned ? alignment : nil,
          fit: ownFit, meeting: asked)
      }
      guard let start = unsafe handle.hand(allocation, of: pool, dma) else { return -ENXIO }
      unsafe memory.pointee = start
      return 0
    } catch {
      ErrorText.set(error)
      PoolHandle.tell(error)
      return -error.errorNumber
    }
  }
}
