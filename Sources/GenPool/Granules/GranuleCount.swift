/// A number of granules: the length of a run, the size of a bitmap. Never negative.
public struct GranuleCount: Hashable, Comparable, Sendable {
  /// The count.
  public let rawValue: Int

  /// `rawValue` granules.
  @inlinable
  public init(_ rawValue: Int) {
    self.rawValue = rawValue
  }

  @inlinable
  public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}
