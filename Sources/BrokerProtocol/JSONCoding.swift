// The one place where JSON is read and written.

import FoundationEssentials

/// Any name of a JSON object's field.
struct FieldName: CodingKey {
  let stringValue: String
  var intValue: Int? { nil }

  init(_ name: String) { stringValue = name }
  init?(stringValue: String) { self.init(stringValue) }
  init?(intValue: Int) { nil }
}

/// Where in a message coding failed.
struct CodingFailure: Error {
  let codingPath: [any CodingKey]
}

/// `message` as one frame. Keys are sorted, so that the same message is the same bytes.
func encodeFrame(_ message: some Encodable) throws(CodingFailure) -> [UInt8] {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  do {
    return try Array(encoder.encode(message)) + [0]
  } catch EncodingError.invalidValue(_, let context) {
    throw CodingFailure(codingPath: context.codingPath)
  } catch {
    throw CodingFailure(codingPath: [])
  }
}

/// The outer object of a message.
func decodeEnvelope<Envelope: Decodable>(
  _ type: Envelope.Type, from frame: [UInt8]
) throws(MalformedMessage) -> Envelope {
  // Not left to Foundation, whose own limit is 512: of 513 brackets and no more it traps (Swift 6.3).
  guard !isNested(frame, deeperThan: nestingLimit) else {
    throw .notAnEnvelope(cause: "nested deeper than \(nestingLimit) levels")
  }
  do {
    return try JSONDecoder().decode(type, from: Data(frame))
  } catch let error as DecodingError where !error.codingPath.isEmpty {
    throw .notAnEnvelope(
      cause: "\(parameterName(error.codingPath)) is missing or of the wrong type")
  } catch {
    throw .notAnEnvelope(cause: "not a JSON object")
  }
}

/// How deep arrays and objects of a message may lie in each other. Ours need 6.
let nestingLimit = 64

/// Whether a JSON text opens more than `limit` arrays and objects inside each other. What is no JSON
/// is counted as well as it goes. O(n), without recursion.
func isNested(_ text: [UInt8], deeperThan limit: Int) -> Bool {
  var depth = 0
  var isInString = false
  var isEscaped = false
  for byte in text {
    if isEscaped {
      isEscaped = false
      continue
    }
    switch byte {
    case UInt8(ascii: "\\"): isEscaped = isInString
    case UInt8(ascii: "\""): isInString.toggle()
    case UInt8(ascii: "["), UInt8(ascii: "{"):
      guard !isInString else { continue }
      depth += 1
      if depth > limit { return true }
    case UInt8(ascii: "]"), UInt8(ascii: "}"):
      if !isInString { depth -= 1 }
    default: break
    }
  }
  return false
}

/// The `parameters` of a reply or an error; missing and null are `{}`.
func decodeParameters<Parameters: Decodable>(
  _ type: Parameters.Type, from frame: [UInt8]
) throws(CodingFailure) -> Parameters {
  do {
    let decoder = JSONDecoder()
    if let found = try decoder.decode(Carrier<Parameters>.self, from: Data(frame)).parameters {
      return found
    }
    return try decoder.decode(type, from: Data("{}".utf8))
  } catch let error as DecodingError {
    throw CodingFailure(codingPath: error.codingPath)
  } catch {
    throw CodingFailure(codingPath: [])
  }
}

private struct Carrier<Parameters: Decodable>: Decodable {
  let parameters: Parameters?
}

/// `rules[0].cure`: a path without the envelope's own key; `parameters` for the envelope's.
func parameterName(_ path: [any CodingKey]) -> String {
  var name = ""
  for key in path.first?.stringValue == "parameters" ? path.dropFirst() : path[...] {
    if let index = key.intValue {
      name += "[\(index)]"
    } else {
      name += name.isEmpty ? key.stringValue : "." + key.stringValue
    }
  }
  return name.isEmpty ? "parameters" : name
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
