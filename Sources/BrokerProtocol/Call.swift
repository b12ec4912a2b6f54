import StrictJSON

/// A call on its way out: a method, its parameters and how it is to be answered.
public struct Call<Method: VarlinkMethod>: Sendable {
  /// What goes in.
  public var parameters: Method.Parameters
  /// Asks for no reply, not even an error.
  public var oneway: Bool
  /// Allows several replies, as ``Broker1/Monitor`` gives.
  public var more: Bool

  /// A call of `Method`.
  public init(
    _ method: Method.Type, _ parameters: Method.Parameters, oneway: Bool = false, more: Bool = false
  ) {
    self.parameters = parameters
    self.oneway = oneway
    self.more = more
  }

  /// The bytes to send, NUL included. Throws `invalidParameter` for a number that varlink's signed
  /// integers cannot hold.
  public func frame() throws(BrokerError) -> [UInt8] {
    if let frame = canonicalCall(Method.name, parameters, oneway: oneway, more: more) {
      return frame
    }
    return try codableFrame()
  }

  /// The same bytes or the same error, whatever the method.
  package func codableFrame() throws(BrokerError) -> [UInt8] {
    do {
      return try encodeFrame(
        Envelope(
          method: Method.name, parameters: parameters, oneway: oneway ? true : nil,
          more: more ? true : nil))
    } catch {
      throw .invalidParameter(parameter: parameterName(error.codingPath))
    }
  }

  private struct Envelope: Encodable {
    let method: String
    let parameters: Method.Parameters
    let oneway: Bool?
    let more: Bool?
  }
}

/// A call as it came in. Its parameters stay JSON until the method is known.
public struct ReceivedCall: Sendable {
  /// The full name of the method.
  public let method: String
  /// The caller wants no reply, not even an error.
  public let oneway: Bool
  /// The caller takes several replies.
  public let more: Bool
  /// The caller wants to leave varlink after the reply. Nothing here can.
  public let upgrade: Bool

  private let content: Content

  private enum Content {
    case canonical(any VarlinkParameters, frame: [UInt8])
    case json(ReceivedEnvelope)
  }

  /// Reads the envelope. Keys that varlink does not define are ignored: its rules let vendors add
  /// some, named by their domain. A key that is given twice is not, wherever it is.
  public init(frame: [UInt8]) throws(MalformedMessage) {
    guard let call = CanonicalCall(frame: frame) else {
      self = try Self(byCodable: frame)
      return
    }
    (method, oneway, more, upgrade) = (call.method, call.oneway, call.more, false)
    content = .canonical(call.parameters, frame: frame)
  }

  /// The same, or the same error, of any frame.
  package init(byCodable frame: [UInt8]) throws(MalformedMessage) {
    let envelope = try ReceivedEnvelope(frame: frame, leavesParameters: true)
    guard let method = try envelope.string("method") else { throw .missing("method") }
    self.method = method
    oneway = try envelope.flag("oneway")
    more = try envelope.flag("more")
    upgrade = try envelope.flag("upgrade")
    content = .json(envelope)
  }

  /// The interface part of the method's name; empty when it has none.
  public var interface: String {
    guard let dot = method.lastIndex(of: ".") else { return "" }
    return String(method[..<dot])
  }

  /// The parameters. Missing, null and `{}` are the same.
  ///
  /// Throws `invalidParameter` naming the first that is given twice, unknown, missing, or of the
  /// wrong type. An integer has no fraction, no exponent, and is not `-0`.
  /// varlink's text leaves unknown ones open. They are refused, because an interface grows by
  /// nullable parameters: a newer client that sets one wants something this service cannot do, and
  /// must hear so. A null one asks for nothing and passes.
  public func parameters<P: VarlinkParameters>(as type: P.Type) throws(BrokerError) -> P {
    let envelope: ReceivedEnvelope
    switch content {
    case .json(let read): envelope = read
    case .canonical(let parameters, let frame):
      if let parameters = parameters as? P { return parameters }
      // Asked for as those of another method.
      do {
        envelope = try ReceivedEnvelope(frame: frame, leavesParameters: true)
      } catch {
        throw .invalidParameter(parameter: "parameters")
      }
    }
    let given = envelope.parameters
    if let repeated = given.firstRepeatedKey {
      throw .invalidParameter(parameter: parameterName(repeated))
    }
    let known = P.CodingKeys.allCases
    // No key paths here: of a generic type each is made anew, for more than the rest costs.
    let unknown = given.firstKey { value in
      value.kind != .null && !known.contains { value.hasKey($0.stringValue) }
    }
    if let unknown {
      throw .invalidParameter(parameter: parameterName([JSONSourceMap.Step.key(unknown)]))
    }
    do {
      return try envelope.decodeParameters(type)
    } catch {
      throw .invalidParameter(parameter: parameterName(error.codingPath))
    }
  }
}
