/// The place of a granule in its chunk: 0 is the one at the chunk's start.
public struct GranuleIndex: Hashable, Comparable, Sendable {
  /// The place, counted from the chunk's start.
  public let rawValue: Int

  /// The granule `rawValue` places after the chunk's first.
  @inlinable
  public init(_ rawValue: Int) {
    self.rawValue = rawValue
  }

  /// The first granule of a chunk.
  @inlinable public static var zero: Self { Self(0) }

  @inlinable
  public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
  /// The granule `count` places on.
  @inlinable
  public static func + (index: Self, count: GranuleCount) -> Self {
    Self(index.rawValue + count.rawValue)
  }
  /// The distance from `origin` up to `index`.
  @inlinable
  public static func - (index: Self, origin: Self) -> GranuleCount {
    GranuleCount(index.rawValue - origin.rawValue)
  }
}

/// A run of granules in one chunk: `count` of them from `first` on.
public struct GranuleRun: Hashable, Sendable {
  /// The lowest granule.
  public let first: GranuleIndex
  /// How many.
  public let count: GranuleCount

  /// `count` granules from `first` on.
  @inlinable
  public init(first: GranuleIndex, count: GranuleCount) {
    self.first = first
    self.count = count
  }

  /// The granule after the run.
  @inlinable public var end: GranuleIndex { first + count }
}
