public import BrokerProtocol

/// The ranges of user numbers that users have for their containers: who has one is not 65,536 users
/// to a quota. subuid(5).
public struct SubordinateUsers: Hashable, Sendable {
  /// A range of one user.
  public struct Range: Hashable, Sendable {
    /// The user that has it.
    public let owner: UID
    /// The first number.
    public let first: UInt32
    /// The number of numbers.
    public let count: UInt32

    public init(owner: UID, first: UInt32, count: UInt32) {
      self.owner = owner
      self.first = first
      self.count = count
    }
  }

  /// By their beginning. Where two overlap the later one counts.
  private let ranges: [Range]

  /// No user has any.
  public init() { ranges = [] }

  /// Those of `ranges` that have numbers.
  public init(_ ranges: [Range]) {
    self.ranges = ranges.filter { $0.count > 0 }.sorted { $0.first < $1.first }
  }

  /// The user that has `user` in a range; nil when there is none. O(log n).
  func owner(of user: UID) -> UID? {
    var (start, end) = (0, ranges.count)
    while start < end {
      let middle = start + (end - start) / 2
      if ranges[middle].first <= user.rawValue { start = middle + 1 } else { end = middle }
    }
    guard start > 0 else { return nil }
    let range = ranges[start - 1]
    return user.rawValue - range.first < range.count ? range.owner : nil
  }
}
