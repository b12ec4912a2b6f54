/// The words of a chunk's map, wherever they are: bit i mod 64 of word i / 64 is granule i; 1 =
/// allocated. What lies behind ``count`` in the last word means nothing.
package protocol GranuleWords: ~Copyable {
  /// The number of granules.
  var count: GranuleCount { get }

  /// The granules from 64 × `index` on; `index` names a word that holds some.
  func storedWord(_ index: Int) -> UInt64
}

extension GranuleWords where Self: ~Copyable {
  /// The lowest free granule at or after `start`, or ``count`` when there is none. O(words).
  @inline(__always)
  func nextFree(from start: Int) -> Int {
    let limit = count.rawValue
    guard start < limit else { return limit }
    var word = start >> 6
    var bits = ~storedWord(word) & (~0 &<< UInt64(truncatingIfNeeded: start))
    let last = (limit &- 1) >> 6
    while bits == 0 {
      guard word < last else { return limit }
      word &+= 1
      bits = ~storedWord(word)
    }
    return min(word &<< 6 &+ bits.trailingZeroBitCount, limit)
  }

  /// The lowest allocated granule in `start ..< limit`, or `limit`. `limit` ≤ ``count``. O(words).
  @inline(__always)
  func nextAllocated(from start: Int, limit: Int) -> Int {
    guard start < limit else { return limit }
    var word = start >> 6
    var bits = storedWord(word) & (~0 &<< UInt64(truncatingIfNeeded: start))
    let last = (limit &- 1) >> 6
    while bits == 0 {
      guard word < last else { return limit }
      word &+= 1
      bits = storedWord(word)
    }
    return min(word &<< 6 &+ bits.trailingZeroBitCount, limit)
  }
}

/// A map in memory of a caller's, in the kernel's layout: what an algorithm in C was given. Nothing
/// is copied, so that searching it costs what the search looks at.
@unsafe
package struct BorrowedGranules: GranuleWords, ~Copyable {
  /// The number of granules.
  package let count: GranuleCount
  private let words: UnsafePointer<UInt>

  /// The `count` granules from `words` on, which outlive this.
  package init(count: GranuleCount, at words: UnsafePointer<UInt>) {
    unsafe self.count = count
    unsafe self.words = words
  }

  @inline(__always)
  package func storedWord(_ index: Int) -> UInt64 { unsafe UInt64(words[index]) }
}
