public import CGenPool
import GenPool

@c @implementation
public func genpool_tag(
  _ pool: UnsafeMutablePointer<gen_pool>, _ addr: UInt, _ size: Int, _ tag: UInt32
) -> CInt {
  let pool = unsafe PoolHandle(pool).pool
  return ErrorText.answer { () throws(PoolError) in
    try pool.tag(
      VirtualAddress(UInt64(addr)), size: ByteCount(UInt64(UInt(bitPattern: size))),
      as: tag == 0 ? nil : Tag(tag))
  }
}

@c @implementation
public func genpool_for_each_holding(
  _ pool: UnsafeMutablePointer<gen_pool>,
  _ function: @convention(c) (UInt, Int, UInt32, UnsafeMutableRawPointer?) -> Void,
  _ data: UnsafeMutableRawPointer?
) {
  // A snapshot: the function may use the pool.
  for holding in unsafe PoolHandle(pool).pool.holdings {
    unsafe function(
      UInt(holding.start.rawValue), Int(holding.size.rawValue), holding.tag?.rawValue ?? 0, data)
  }
}
