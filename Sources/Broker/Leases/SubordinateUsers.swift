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

  /// By their beginning. Of two that have a number the one that begins later counts.
  private let ranges: [Range]

  /// No user has any.
  public init() { ranges = [] }

  /// Those of `ranges` that have numbers.
  public init(_ ranges: [Range]) {
    self.ranges = ranges.filter { $0.count > 0 }.sorted { $0.first < $1.first }
  }

  /// The account of a user that is in a range: the user that has the range, but for root, whose
  /// containers are no more root than others; theirs is the first number. Nil when there is none.
  /// O(log n) as long as no range is inside another.
  func owner(of user: UID) -> UID? {
    var (start, end) = (0, ranges.count)
    while start < end {
      let middle = start + (end - start) / 2
      if ranges[middle].first <= user.rawValue { start = middle + 1 } else { end = middle }
    }
    let range = ranges[..<start].last { user.rawValue - $0.first < $0.count }
    return range.map { $0.owner == .root ? UID(rawValue: $0.first) : $0.owner }
  }
}
