/// A fit whose places the index finds, and nothing but numbers: a copy costs nothing.
package enum IndexedFit {
  case first
  /// At a multiple of 2^`order` bytes of virtual address.
  case aligned(order: Int)
  case orderAligned
  case best
  /// At an offset in bytes.
  case fixed(offset: UInt64)

  /// The alignment of the places of `count` granules, in powers of two of granules, and
  /// whether that is counted from the chunk's start; nil for any granule.
  @inline(__always)
  func alignment(of count: GranuleCount, _ granule: GranuleSize) -> (
    order: Int, fromChunkStart: Bool
  )? {
    let (order, fromChunkStart): (Int, Bool)
    switch self {
    case .aligned(let bytes): (order, fromChunkStart) = (bytes &- Int(granule.order), false)
    case .orderAligned:
      order = Int.bitWidth &- (count.rawValue &- 1).leadingZeroBitCount
      fromChunkStart = true
    case .first, .best, .fixed: return nil
    }
    return order > 0 ? (order, fromChunkStart) : nil
  }
}

/// The part of an allocator's fit that most calls need, in a byte that is read without a lock.
struct PublishedFit {
  /// The order of an alignment in bytes, or one of those below.
  let rawValue: UInt8

  private static var first: UInt8 { 64 }
  private static var orderAligned: UInt8 { 65 }
  private static var best: UInt8 { 66 }
  /// Found by a scan, in a free run that is long enough.
  private static var scanned: UInt8 { 67 }
  /// A fixed place, or an own algorithm's.
  private static var anywhere: UInt8 { 68 }

  @inline(__always)
  init(rawValue: UInt8) { self.rawValue = rawValue }

  init(_ fit: Fit) {
    rawValue =
      switch fit.indexed {
      case .aligned(let order): UInt8(truncatingIfNeeded: order)
      case .first: Self.first
      case .orderAligned: Self.orderAligned
      case .best: Self.best
      case .fixed, nil: fit.needsRun ? Self.scanned : Self.anywhere
      }
  }

  /// Whether this is the first fit: see ``Fit/isFirst``.
  @inline(__always)
  var isFirst: Bool { rawValue == Self.first }

  /// Whether a free run is needed: see ``Fit/needsRun``.
  @inline(__always)
  var needsRun: Bool { rawValue != Self.anywhere }

  /// The fit; nil when the index does not find its places, or they are fixed.
  @inline(__always)
  var indexed: IndexedFit? {
    switch rawValue {
    case 0..<Self.first: .aligned(order: Int(rawValue))
    case Self.first: .first
    case Self.orderAligned: .orderAligned
    case Self.best: .best
    default: nil
    }
  }
}

extension Fit {
  /// The same fit for the index; nil for those that scan, and for a fixed place, which may lie
  /// inside a granule.
  @inline(__always)
  fileprivate var indexed: IndexedFit? {
    switch self {
    case .first: .first
    case .firstAligned(let alignment):
      alignment.isPowerOfTwo ? .aligned(order: alignment.rawValue.trailingZeroBitCount) : nil
    case .orderAligned: .orderAligned
    case .best: .best
    case .fixed, .custom: nil
    }
  }

  /// The same in a pool of `granule`; nil for those that scan, and for a place inside a granule.
  @inline(__always)
  func indexed(in granule: GranuleSize) -> IndexedFit? {
    guard case .fixed(let offset) = self else { return indexed }
    return offset.isMultiple(of: granule.byteCount) ? .fixed(offset: offset.rawValue) : nil
  }
}

extension RunIndex {
  /// The start of the run of `count` granules that a fit chooses; nil when there is none.
  @inline(__always)
  mutating func place(
    _ count: GranuleCount, by fit: IndexedFit, _ granule: GranuleSize
  ) -> GranuleIndex? {
    if let (order, fromChunkStart) = fit.alignment(of: count, granule) {
      return firstFit(count, alignedTo: order, fromChunkStart: fromChunkStart)
    }
    switch fit {
    case .first, .aligned, .orderAligned: return firstFit(count)
    case .best: return bestFit(count)
    case .fixed(let offset):
      guard let first = Int(exactly: offset &>> UInt64(granule.order)) else { return nil }
      let run = GranuleRun(first: GranuleIndex(first), count: count)
      return isFree(run) ? run.first : nil
    }
  }

  /// Marks the run of `count` granules that a fit chooses as allocated; its start, nil when there
  /// is none.
  @inline(__always)
  package mutating func allocate(
    _ count: GranuleCount, by fit: IndexedFit, _ granule: GranuleSize
  ) -> GranuleIndex? {
    let alignment = fit.alignment(of: count, granule)
    switch (fit, alignment) {
    case (.first, _), (.aligned, nil), (.orderAligned, nil): return allocateFirstFit(count)
    case (.aligned, _), (.orderAligned, _), (.best, _), (.fixed, _): break
    }
    if front.isActive, isFrontTheChoice(of: fit, alignment, granule),
      let start = front.take(count.rawValue)
    {
      let run = GranuleRun(first: GranuleIndex(start), count: count)
      bitmap.allocate(run)
      return run.first
    }
    guard let first = place(count, by: fit, granule) else { return nil }
    allocate(GranuleRun(first: first, count: count))
    return first
  }

  /// Whether a fit, which is not the first, chooses the lower end of the front, if it is long
  /// enough. There is one. What it may choose as well is left to ``place(_:by:_:)``.
  @inline(__always)
  private func isFrontTheChoice(
    of fit: IndexedFit, _ alignment: (order: Int, fromChunkStart: Bool)?, _ granule: GranuleSize
  ) -> Bool {
    if let (order, fromChunkStart) = alignment {
      return isPlace(front.start, alignedTo: order, fromChunkStart: fromChunkStart)
    }
    return switch fit {
    case .first, .aligned, .orderAligned: true
    case .best: runCount == 1
    case .fixed(let offset): Int(exactly: offset &>> UInt64(granule.order)) == front.start
    }
  }
}
