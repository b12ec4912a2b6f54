// The one place where messages become JSON, and JSON messages.

import StrictJSON

/// Where in a message coding failed.
struct CodingFailure: Error {
  let codingPath: [any CodingKey]
}

/// `message` as one frame. Keys are sorted, so that the same message is the same bytes.
func encodeFrame(_ message: some Encodable) throws(CodingFailure) -> [UInt8] {
  do {
    var frame = try JSONWriter.bytes(of: message)
    frame.append(0)
    return frame
  } catch EncodingError.invalidValue(_, let context) {
    throw CodingFailure(codingPath: context.codingPath)
  } catch {
    throw CodingFailure(codingPath: [])
  }
}

/// The outer object of a message that came in.
struct ReceivedEnvelope {
  private let message: JSONValue

  /// Reads a frame.
  /// - Throws: for a text that is no JSON object, and for a key that is given twice, but for those
  ///   inside of `parameters` if `leavesParameters`.
  init(frame: [UInt8], leavesParameters: Bool) throws(MalformedMessage) {
    let tree: JSONTree
    do {
      tree = try JSONTree(frame)
    } catch {
      throw .notAnEnvelope(cause: "not a JSON object: \(error)")
    }
    message = tree.root
    guard message.kind == .object else { throw .notAnEnvelope(cause: "not a JSON object") }
    for path in tree.repeatedKeys {
      guard leavesParameters, path.count > 1, path.first == .key("parameters") else {
        throw .notAnEnvelope(cause: "the key \(quotedInError(messagePath(path))) is given twice")
      }
    }
  }

  /// The text of `key`; nil when it is missing or null.
  func string(_ key: String) throws(MalformedMessage) -> String? {
    try value(key) { $0.string }
  }

  /// The flag `key`; false when it is missing or null.
  func flag(_ key: String) throws(MalformedMessage) -> Bool {
    try value(key) { $0.bool } ?? false
  }

  private func value<Value>(
    _ key: String, _ read: (JSONValue) -> Value?
  ) throws(MalformedMessage) -> Value? {
    guard let given = message[key], given.kind != .null else { return nil }
    guard let value = read(given) else { throw .missing(key) }
    return value
  }

  /// The parameters; missing and null are `{}`.
  var parameters: JSONValue {
    guard let given = message["parameters"], given.kind != .null else {
      return JSONTree.emptyObject
    }
    return given
  }

  /// The parameters of a reply or an error. Fields that `type` does not have are ignored.
  func decodeParameters<Parameters: Decodable>(
    _ type: Parameters.Type
  ) throws(CodingFailure) -> Parameters {
    do {
      return try parameters.decode(type)
    } catch let error as DecodingError {
      throw CodingFailure(codingPath: error.codingPath)
    } catch {
      throw CodingFailure(codingPath: [])
    }
  }
}

extension MalformedMessage {
  /// The envelope lacks `key`, or has something else there.
  static func missing(_ key: String) -> Self {
    .notAnEnvelope(cause: "\(key) is missing or of the wrong type")
  }
}

/// `rules[0].cure`: a path without the envelope's own key; `parameters` for the envelope's.
func parameterName(_ path: [any CodingKey]) -> String {
  let inside = path.first?.stringValue == "parameters" ? path.dropFirst() : path[...]
  let name = messagePath(inside)
  return name.isEmpty ? "parameters" : name
}

/// `parameters.rules[0].cure`.
private func messagePath(_ path: some Sequence<any CodingKey>) -> String {
  var name = ""
  for key in path {
    if let index = key.intValue {
      name += "[\(index)]"
    } else {
      name += name.isEmpty ? key.stringValue : "." + key.stringValue
    }
  }
  return name
}

extension DecodingError {
  /// Where in the message the fault is, the missing key included.
  var codingPath: [any CodingKey] {
    switch self {
    case .keyNotFound(let key, let context): context.codingPath + [key]
    case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
      context.codingPath
    @unknown default: []
    }
  }
}
