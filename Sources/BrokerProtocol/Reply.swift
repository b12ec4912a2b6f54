/// The bytes of replies on their way out, NUL included.
public enum Reply {
  /// A method's result. `continues`: more replies to the same call follow.
  ///
  /// Throws ``UnencodableMessage`` for a number that varlink's signed integers cannot hold.
  public static func frame(
    _ parameters: some Encodable, continues: Bool = false
  ) throws(UnencodableMessage) -> [UInt8] {
    if let frame = canonicalReply(parameters, continues: continues) { return frame }
    return try codableFrame(parameters, continues: continues)
  }

  /// The same bytes or the same error, whatever the method.
  package static func codableFrame(
    _ parameters: some Encodable, continues: Bool = false
  ) throws(UnencodableMessage) -> [UInt8] {
    do {
      return try encodeFrame(
        Envelope(parameters: parameters, continues: continues ? true : nil, error: nil))
    } catch {
      throw UnencodableMessage(field: parameterName(error.codingPath))
    }
  }

  /// An error by its full name, with its parameters.
  public static func frame(error: BrokerError) throws(UnencodableMessage) -> [UInt8] {
    do {
      return try encodeFrame(Envelope(parameters: error, continues: nil, error: error.name))
    } catch {
      throw UnencodableMessage(field: parameterName(error.codingPath))
    }
  }

  private struct Envelope<Parameters: Encodable>: Encodable {
    let parameters: Parameters
    let continues: Bool?
    let error: String?
  }
}

/// A reply as it came in.
public struct ReceivedReply: Sendable {
  /// More replies to the same call follow.
  public let continues: Bool
  /// The full name of the error, if the call failed.
  public let errorName: String?

  private let content: Content

  private enum Content {
    case canonical(any Sendable, frame: [UInt8])
    case json(ReceivedEnvelope)
  }

  /// Reads the envelope. A key that is given twice is malformed, wherever it is.
  public init(frame: [UInt8]) throws(MalformedMessage) {
    guard let reply = CanonicalReply(frame: frame) else {
      self = try Self(byCodable: frame)
      return
    }
    (continues, errorName) = (false, nil)
    content = .canonical(reply.parameters, frame: frame)
  }

  /// The same, or the same error, of any frame.
  package init(byCodable frame: [UInt8]) throws(MalformedMessage) {
    let envelope = try ReceivedEnvelope(frame: frame, leavesParameters: false)
    continues = try envelope.flag("continues")
    errorName = try envelope.string("error")
    content = .json(envelope)
  }

  /// The reply of `method`, or the error that it ended with. Fields that this client does not know
  /// are ignored: an interface grows by them.
  public func result<Method: VarlinkMethod>(
    of method: Method.Type
  ) throws(ReplyError) -> Method.Reply {
    let envelope: ReceivedEnvelope
    switch content {
    case .json(let read): envelope = read
    case .canonical(let parameters, let frame):
      if let reply = parameters as? Method.Reply { return reply }
      // Asked for as that of another method.
      do {
        envelope = try ReceivedEnvelope(frame: frame, leavesParameters: false)
      } catch {
        throw .malformed(error)
      }
    }
    if let errorName { throw ReplyError(name: errorName, envelope) }
    do {
      return try envelope.decodeParameters(Method.Reply.self)
    } catch {
      throw .malformed(
        .notAnEnvelope(cause: "field \(parameterName(error.codingPath)) is not as in the interface")
      )
    }
  }
}

/// A message that JSON and varlink cannot carry, by the field that is at fault.
public struct UnencodableMessage: Error, Equatable, CustomStringConvertible {
  /// The path of the field.
  public let field: String

  public var description: String { "write a varlink message: field \(field) has no JSON form" }
}

/// How a call can end other than by its reply.
public enum ReplyError: Error, Equatable, CustomStringConvertible {
  /// The service answered with an error.
  case broker(BrokerError)
  /// An error that this client does not know: the broker is newer.
  case unknown(name: String)
  /// The reply is no varlink message, or not the one that the interface promises.
  case malformed(MalformedMessage)

  init(name: String, _ envelope: ReceivedEnvelope) {
    do {
      if let error = try BrokerError(name: name, envelope) {
        self = .broker(error)
      } else {
        self = .unknown(name: name)
      }
    } catch {
      self = .malformed(
        .notAnEnvelope(cause: "error \(name) lacks \(parameterName(error.codingPath))"))
    }
  }

  public var description: String {
    switch self {
    case .broker(let error): error.description
    case .unknown(let name): "the broker answered \(name), which this client does not know"
    case .malformed(let error): error.description
    }
  }
}
