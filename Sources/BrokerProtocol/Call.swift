import FoundationEssentials

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

/// A call as it came in. Its parameters stay bytes until the method is known.
public struct ReceivedCall: Sendable {
  /// The full name of the method.
  public let method: String
  /// The caller wants no reply, not even an error.
  public let oneway: Bool
  /// The caller takes several replies.
  public let more: Bool
  /// The caller wants to leave varlink after the reply. Nothing here can.
  public let upgrade: Bool

  private let frame: [UInt8]

  /// Reads the envelope. Keys that varlink does not define are ignored: its rules let vendors add
  /// some, named by their domain.
  public init(frame: [UInt8]) throws(MalformedMessage) {
    let envelope = try decodeEnvelope(Envelope.self, from: frame)
    method = envelope.method
    oneway = envelope.oneway ?? false
    more = envelope.more ?? false
    upgrade = envelope.upgrade ?? false
    self.frame = frame
  }

  /// The interface part of the method's name; empty when it has none.
  public var interface: String {
    guard let dot = method.lastIndex(of: ".") else { return "" }
    return String(method[..<dot])
  }

  /// The parameters. Missing, null and `{}` are the same.
  ///
  /// Throws `invalidParameter` naming the first that is missing, of the wrong type, or unknown.
  /// varlink's text leaves unknown ones open. They are refused, because an interface grows by
  /// nullable parameters: a newer client that sets one wants something this service cannot do, and
  /// must hear so. A null one asks for nothing and passes.
  public func parameters<P: VarlinkParameters>(as type: P.Type) throws(BrokerError) -> P {
    do {
      return try JSONDecoder().decode(Body<P>.self, from: Data(frame)).parameters
    } catch let error as DecodingError {
      throw .invalidParameter(parameter: parameterName(error.codingPath))
    } catch {
      throw .invalidParameter(parameter: "parameters")
    }
  }

  private struct Envelope: Decodable {
    let method: String
    let oneway: Bool?
    let more: Bool?
    let upgrade: Bool?
  }

  private struct Body<P: VarlinkParameters>: Decodable {
    let parameters: P

    init(from decoder: any Decoder) throws {
      let envelope = try decoder.container(keyedBy: FieldName.self)
      let key = FieldName("parameters")
      guard envelope.contains(key), try !envelope.decodeNil(forKey: key) else {
        parameters = try JSONDecoder().decode(P.self, from: Data("{}".utf8))
        return
      }
      let given = try envelope.nestedContainer(keyedBy: FieldName.self, forKey: key)
      let known = Set(P.CodingKeys.allCases.map(\.stringValue))
      for name in given.allKeys.sorted(by: { $0.stringValue < $1.stringValue })
      where !known.contains(name.stringValue) {
        guard try given.decodeNil(forKey: name) else {
          throw DecodingError.dataCorruptedError(
            forKey: name, in: given, debugDescription: "no such parameter")
        }
      }
      do {
        parameters = try envelope.decode(P.self, forKey: key)
      } catch let error where !(error is DecodingError) {
        // Of a number that is no 64-bit integer Foundation throws an error of its own, without a path.
        let culprit = given.allKeys.first { name in
          do {
            _ = try given.decode(Int64.self, forKey: name)
            return false
          } catch {
            return !(error is DecodingError)
          }
        }
        throw DecodingError.dataCorrupted(
          .init(
            codingPath: given.codingPath + (culprit.map { [$0] } ?? []),
            debugDescription: "not a 64-bit integer"))
      }
    }
  }
}
