/// For each alignment to 1 … 64 granules, the difference between 64 granules and the longest free
/// run from an aligned place: a word that is read without a lock, so that a search of many chunks
/// passes over those that cannot serve.
package struct AlignedRuns: Equatable {
  /// A byte for each order from 0 to 6, the highest is 0; 0 where it is not known, and where the
  /// run may be of any length.
  package private(set) var rawValue: UInt64

  @inline(__always)
  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Of no alignment anything is known.
  package static var unknown: Self { Self(rawValue: 0) }
  /// No run at all.
  package static var none: Self { Self(rawValue: 0x40_4040_4040_4040) }

  /// The greatest length that is told apart.
  @inline(__always)
  package static var limit: Int { 64 }
  /// The highest order; what is aligned to more is aligned to that as well.
  @inline(__always)
  package static var greatestOrder: Int { 6 }

  /// The place of an order's byte, counted in bits.
  @inline(__always)
  package static func shift(_ order: Int) -> UInt64 {
    UInt64(truncatingIfNeeded: 8 &* min(max(order, 0), greatestOrder))
  }

  /// The most that a run of at least `count` granules may lack.
  @inline(__always)
  package static func most(_ count: GranuleCount) -> UInt64 {
    UInt64(truncatingIfNeeded: limit &- min(count.rawValue, limit))
  }

  /// Records what four orders from `first`, 1 or 5, on lack; of those above the greatest nothing.
  @inline(__always)
  mutating func set(_ lacks: UInt32, from first: Int) {
    rawValue |= UInt64(lacks) &<< UInt64(truncatingIfNeeded: first &* 8) & (~0 &>> 8)
  }

  /// The granules that the longest run of an order, 0 to 6, lacks of 64.
  @inline(__always)
  func lack(_ order: Int) -> UInt8 { UInt8(truncatingIfNeeded: rawValue &>> Self.shift(order)) }

  /// The longest run of all, and nothing known of any alignment.
  @inline(__always)
  init(longest: Int) {
    rawValue = UInt64(truncatingIfNeeded: Self.limit &- min(longest, Self.limit))
  }

  /// The word with those orders only whose places are at the same granules when they are counted from
  /// `origin`.
  package func counted(from origin: UInt64) -> Self {
    let orders = min(origin.trailingZeroBitCount, Self.greatestOrder)
    return Self(rawValue: rawValue & (~0 &>> UInt64(truncatingIfNeeded: 56 &- 8 &* orders)))
  }

  /// The longest run from a place at a multiple of 2^`order`, at least 1; nil when it is not known.
  /// A block has 64 granules.
  @inline(__always)
  package func longest(_ order: Int) -> Int? {
    guard order <= Self.greatestOrder else { return nil }
    let lacks = Int(truncatingIfNeeded: rawValue &>> Self.shift(order) & 0xff)
    return lacks == 0 ? nil : Self.limit &- lacks
  }
}
