/// The number of a logical block of a namespace, from 0.
public struct BlockAddress: Hashable, Comparable, Sendable {
  public let rawValue: UInt64

  public init(_ rawValue: UInt64) {
    self.rawValue = rawValue
  }

  public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// How many logical blocks one command moves: 1 … 65,536.
public struct BlockCount: Hashable, Comparable, Sendable {
  public let rawValue: Int

  /// `rawValue` blocks, nil outside of what a command can say.
  public init?(_ rawValue: Int) {
    guard 1...65536 ~= rawValue else { return nil }
    self.rawValue = rawValue
  }

  public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}
