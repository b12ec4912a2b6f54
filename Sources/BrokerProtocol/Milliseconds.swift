/// A time on the wire, where it is an integer.
public struct Milliseconds: RawRepresentable, Hashable, Codable, Sendable {
  /// Not negative where it makes sense.
  public let rawValue: Int64

  public init(rawValue: Int64) {
    self.rawValue = rawValue
  }

  /// `duration`, rounded up; a year at most, which is as good as for ever.
  public init(_ duration: Duration) {
    let (seconds, attoseconds) = min(max(duration, .zero), Self.longest).components
    let fraction = (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
    rawValue = seconds * 1000 + fraction
  }

  /// The same as Swift counts time; a year at most.
  public var duration: Duration { min(.milliseconds(rawValue), Self.longest) }

  private static let longest = Duration.seconds(365 * 86_400)
}
