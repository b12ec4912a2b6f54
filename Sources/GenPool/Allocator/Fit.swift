import Synchronization

/// Which of the free runs an allocation takes: what the kernel says with a `genpool_algo_t` and a
/// `void *`.
///
/// A fit decides within one chunk; the newest chunk in which it finds a place wins.
public enum Fit: Sendable {
  /// The lowest place. The kernel's `gen_pool_first_fit`, the default.
  case first
  /// The lowest place whose virtual address is aligned. The kernel's `gen_pool_first_fit_align`.
  ///
  /// For a power of two and a chunk that starts at a granule boundary, the address is a multiple
  /// of it; up to the granule it is no constraint. Any other value follows the kernel's formula to
  /// the letter. 0 is refused.
  case firstAligned(ByteCount)
  /// The lowest place that is a multiple of the request, rounded up to a power of two of granules,
  /// counted from the chunk's start. The kernel's `gen_pool_first_fit_order_align`.
  case orderAligned
  /// The start of the shortest run that is long enough, within the first chunk that has one. The
  /// kernel's `gen_pool_best_fit`.
  case best
  /// The place at this offset from the chunk's start, or none; tried in each chunk. The kernel's
  /// `gen_pool_fixed_alloc`. An offset inside a granule finds nothing and is warned of.
  case fixed(offset: ByteCount)
  /// An own algorithm over the bitmap, called with the chunk's lock held: it must not use the pool.
  case custom(Algorithm)

  /// Answers with the first granule of the place it chose, or nil for none in this chunk.
  ///
  /// The run must lie in the bitmap (else ``RangeAllocator/Failure/fitOutOfRange``) and be free: an
  /// answer that is not is taken for a lost race as in the kernel, and the algorithm asked again
  /// from there on.
  public typealias Algorithm = @Sendable (borrowing GranuleBitmap, Request) -> GranuleIndex?

  /// What an algorithm is asked for.
  public struct Request: Sendable {
    /// The lowest granule that may be chosen: 0, unless an earlier answer was not free.
    public let start: GranuleIndex
    /// How many granules.
    public let count: GranuleCount
    /// The place of granule 0: its distance from address 0 of the allocator's space.
    public let chunkStart: ByteCount
    /// The pool's granule.
    public let granule: GranuleSize

    /// A request for `count` granules from `start` on.
    package init(
      start: GranuleIndex, count: GranuleCount, chunkStart: ByteCount, granule: GranuleSize
    ) {
      self.start = start
      self.count = count
      self.chunkStart = chunkStart
      self.granule = granule
    }
  }

  /// The place this fit chooses, found by the chunk's index; nil for none. As the other one, but
  /// for the time it takes: only alignments that are no power of two, and own algorithms, scan.
  @inline(__always)
  func place<Shape>(_ request: Request, in index: inout RunIndex<Shape>) -> GranuleIndex? {
    guard let indexed = indexed(in: request.granule) else {
      return place(request, in: index.bitmap)
    }
    return index.place(request.count, by: indexed, request.granule)
  }

  /// The place this fit chooses in `bitmap`, nil for none. O(words of the bitmap).
  package func place(_ request: Request, in bitmap: borrowing GranuleBitmap) -> GranuleIndex? {
    if case .custom(let algorithm) = self { return algorithm(bitmap, request) }
    return scan(request, of: bitmap)
  }

  /// The place a fit of the kernel's chooses in the map that `words` are, nil for none; an own
  /// algorithm reads a ``GranuleBitmap`` and finds none here. O(words).
  package func scan<Words: GranuleWords & ~Copyable>(
    _ request: Request, of words: borrowing Words
  ) -> GranuleIndex? {
    let order = UInt64(request.granule.order)
    let granuleMask = request.granule.byteCount.rawValue &- 1
    switch self {
    case .first:
      return words.firstFit(from: request.start, count: request.count)
    case .firstAligned(let alignment):
      let align = alignment.rawValue
      let up: UInt64 = align & granuleMask == 0 ? 0 : 1
      return words.firstFit(
        from: request.start, count: request.count, mask: (align >> order) &+ up &- 1,
        offset: (request.chunkStart.rawValue & (align &- 1)) >> order)
    case .orderAligned:
      let width = UInt64(Int.bitWidth - (request.count.rawValue &- 1).leadingZeroBitCount)
      return words.firstFit(
        from: request.start, count: request.count, mask: 1 &<< width &- 1)
    case .best:
      return words.bestFit(from: request.start, count: request.count)
    case .fixed(let offset):
      guard offset.rawValue & granuleMask == 0, let index = Int(exactly: offset.rawValue >> order)
      else { return nil }
      return words.fixedFit(
        from: request.start, at: GranuleIndex(index), count: request.count)
    case .custom:
      return nil
    }
  }

  /// Whether this is the first fit.
  @inline(__always)
  var isFirst: Bool {
    if case .first = self { true } else { false }
  }

  /// Whether this fit finds nothing without a free run as long as the request: a chunk without one
  /// need not be asked, and no result differs.
  @inline(__always)
  var needsRun: Bool {
    switch self {
    case .first, .firstAligned, .orderAligned, .best: true
    case .fixed, .custom: false
    }
  }

  /// Whether this fit cannot be used at all: it is aligned to 0 bytes.
  var isRefused: Bool {
    if case .firstAligned(.zero) = self { return true }
    return false
  }
}
