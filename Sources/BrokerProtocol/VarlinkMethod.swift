/// A method of a varlink interface: what goes in, what comes out, and its full name.
public protocol VarlinkMethod: Sendable {
  /// The call's parameters.
  associatedtype Parameters: VarlinkParameters
  /// The reply's parameters.
  associatedtype Reply: Codable & Sendable & Equatable

  /// The full name, e.g. `io.genpool.Broker1.Acquire`.
  static var name: String { get }
}

/// The parameters of a call. Their keys are listed, so that one the service does not know can be
/// refused.
public protocol VarlinkParameters: Codable, Sendable, Equatable {
  /// The fields, named as in the interface.
  associatedtype CodingKeys: CodingKey & CaseIterable
}

/// A reply without fields, `() `.
public struct EmptyReply: Codable, Sendable, Equatable {
  public init() {}
}

/// A call without parameters.
public struct NoParameters: VarlinkParameters {
  /// There are none.
  public enum CodingKeys: CodingKey, CaseIterable {}

  public init() {}
  /// Reads an object; its fields, if any, are refused by the call's envelope.
  public init(from decoder: any Decoder) throws {
    _ = try decoder.container(keyedBy: CodingKeys.self)
  }
  /// Writes `{}`.
  public func encode(to encoder: any Encoder) throws {
    _ = encoder.container(keyedBy: CodingKeys.self)
  }
}
