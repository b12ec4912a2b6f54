import CGenPool
public import CGenPool.Private
import GenPool

/// What a `genpool_algo_t` and its data say, in the pool's words.
enum Algorithm {
  /// The fit; nil where the kernel would have crashed or never come back, after a word to the caller.
  ///
  /// The five of the header are recognised, so that the pool's index serves them. Any other function is
  /// called on the chunk's own map.
  static func fit(
    _ algorithm: genpool_algo_t?, _ data: UnsafeMutableRawPointer?, for pool: PoolHandle
  ) -> Fit? {
    guard let algorithm = unsafe algorithm else {
      Misuse.fatal("allocate: the algorithm is NULL")
      return nil
    }
    if let number = unsafe number(of: algorithm) { return unsafe fit(number, data) }
    // SAFETY: the caller's function, which lives as long as it may be called.
    nonisolated(unsafe) let (function, data, pointer) = unsafe (algorithm, data, pool.pointer)
    return .custom { map, request in
      let size = UInt(map.count.rawValue)
      let index = unsafe map.withUnsafeKernelWords { words in
        unsafe function(
          words, size, UInt(request.start.rawValue),
          UInt32(truncatingIfNeeded: request.count.rawValue), data, pointer,
          UInt(request.chunkStart.rawValue))
      }
      return index < size ? GranuleIndex(Int(index)) : nil
    }
  }

  /// The fit of a number; nil where its data make none.
  static func fit(_ number: gp_algorithm, _ data: UnsafeMutableRawPointer?) -> Fit? {
    switch number {
    case GP_FIRST_ALIGN:
      guard let data = unsafe data?.assumingMemoryBound(to: genpool_data_align.self) else {
        Misuse.fatal("gen_pool_first_fit_align: without a struct genpool_data_align")
        return nil
      }
      // 0 and less fail, or never return, in the kernel.
      let align = unsafe data.pointee.align
      return align > 0 ? .firstAligned(ByteCount(UInt64(align))) : nil
    case GP_FIXED:
      guard let data = unsafe data?.assumingMemoryBound(to: genpool_data_fixed.self) else {
        Misuse.fatal("gen_pool_fixed_alloc: without a struct genpool_data_fixed")
        return nil
      }
      return .fixed(offset: ByteCount(UInt64(unsafe data.pointee.offset)))
    case GP_FIRST_ORDER_ALIGN: return .orderAligned
    case GP_BEST: return .best
    default: return .first
    }
  }

  @inline(__always)
  static func address(_ algorithm: genpool_algo_t) -> UInt {
    unsafe unsafeBitCast(algorithm, to: UInt.self)
  }

  /// Which of the header's five it is.
  private static func number(of algorithm: genpool_algo_t) -> gp_algorithm? {
    switch unsafe address(algorithm) {
    case unsafe address(gen_pool_first_fit): GP_FIRST
    case unsafe address(gen_pool_first_fit_align): GP_FIRST_ALIGN
    case unsafe address(gen_pool_first_fit_order_align): GP_FIRST_ORDER_ALIGN
    case unsafe address(gen_pool_best_fit): GP_BEST
    case unsafe address(gen_pool_fixed_alloc): GP_FIXED
    default: nil
    }
  }
}

@c @implementation
public func gp_place(
  _ algorithm: gp_algorithm, _ map: UnsafePointer<UInt>, _ size: UInt, _ start: UInt, _ nr: UInt32,
  _ data: UnsafeMutableRawPointer?, _ pool: UnsafeMutablePointer<gen_pool>, _ start_addr: UInt
) -> UInt {
  let order = unsafe pool.pointee.min_alloc_order
  guard let fit = unsafe Algorithm.fit(algorithm, data), (0...63).contains(order),
    start < size, size <= UInt(Int.max)
  else { return size }
  let granule = GranuleSize(order: Int(order))
  if case .fixed(let offset) = fit, !offset.isMultiple(of: granule.byteCount) {
    let warning = PoolWarning.offsetInsideGranule(
      offset: offset, chunk: VirtualAddress(UInt64(start_addr)))
    Misuse.warning("\(warning)")
    return size
  }
  let request = Fit.Request(
    start: GranuleIndex(Int(start)), count: GranuleCount(Int(nr)),
    chunkStart: ByteCount(UInt64(start_addr)), granule: granule)
  let words = unsafe BorrowedGranules(count: GranuleCount(Int(size)), at: map)
  return unsafe fit.scan(request, of: words).map { UInt($0.rawValue) } ?? size
}
