/// For each alignment up to a block, what the longest free run from an aligned place lacks of a
/// block's length, in a word that is read without a lock.
package struct AlignedRuns {
  /// A byte for each order from 1 on; 0 where it is not known, and where the run may be of any
  /// length.
  package private(set) var rawValue: UInt64

  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Of no alignment anything is known.
  package static var unknown: Self { Self(rawValue: 0) }

  /// Records what four orders from `first`, 1 or 5, on lack.
  @inline(__always)
  mutating func set(_ lacks: UInt32, from first: Int) {
    rawValue |= UInt64(lacks) &<< UInt64(truncatingIfNeeded: (first &- 1) &* 8)
  }

  /// The longest run from a place at a multiple of 2^`order`, at least 1; nil when it is not known.
  /// A block has 64 granules.
  @inline(__always)
  package func longest(_ order: Int) -> Int? {
    guard order <= 6 else { return nil }
    let lacks = Int(
      truncatingIfNeeded: rawValue &>> UInt64(truncatingIfNeeded: (order &- 1) &* 8) & 0xff)
    return lacks == 0 ? nil : 64 &- lacks
  }
}
