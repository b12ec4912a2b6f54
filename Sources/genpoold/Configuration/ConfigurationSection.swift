import StrictJSON

/// An object of the configuration, read key by key. What is wrong goes to the decoder's
/// ``ProblemCollector``, and reading goes on.
struct ConfigurationSection {
  private let container: KeyedDecodingContainer<Key>
  private let problems: ProblemCollector
  /// Where it stands.
  let path: [JSONSourceMap.Step]

  struct Key: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(_ name: String) { stringValue = name }
    init?(stringValue: String) { self.init(stringValue) }
    init?(intValue: Int) { nil }
  }

  /// An object that may have any keys.
  init(_ decoder: any Decoder) throws {
    container = try decoder.container(keyedBy: Key.self)
    problems = decoder.problemCollector
    path = decoder.codingPath.map(JSONSourceMap.Step.init)
  }

  /// An object that may have `known` keys only. `hints` are for those that people might expect.
  init(_ decoder: any Decoder, known: [String], hints: [String: String] = [:]) throws {
    try self.init(decoder)
    for key in keys where !known.contains(key) {
      let cause = hints[key] ?? "there are \(known.joined(separator: ", "))"
      refuse(key, "no such key; " + cause, isAboutKey: true)
    }
  }

  var keys: [String] { container.allKeys.map(\.stringValue) }

  func has(_ key: String) -> Bool { container.contains(Key(key)) }

  /// The value of `key`; nil when there is none or none that can be read, which is noted.
  func value<Value: Decodable>(_ key: String, as type: Value.Type = Value.self) -> Value? {
    guard has(key) else { return nil }
    do {
      return try container.decode(type, forKey: Key(key))
    } catch {
      problems.report(error, under: path + [.key(key)])
      return nil
    }
  }

  /// The value of `key` as `convert` reads it; nil from it is noted as `cause`.
  func value<Raw: Decodable, Value>(
    _ key: String, from type: Raw.Type, else cause: String, _ convert: (Raw) -> Value?
  ) -> Value? {
    guard let raw = value(key, as: type) else { return nil }
    guard let value = convert(raw) else {
      let text = (raw as? String).map { quotedForLog($0) } ?? "\(raw)"
      refuse(key, "\(text) is not possible; " + cause)
      return nil
    }
    return value
  }

  /// Notes that `key` is missing, if it is.
  func require(_ keys: String...) {
    for key in keys where !has(key) { problems.report("the key \(key) is missing", at: path) }
  }

  /// Notes that what `key` says is wrong.
  func refuse(_ key: String, _ cause: String, isAboutKey: Bool = false) {
    problems.report(cause, at: path + [.key(key)], isAboutKey: isAboutKey)
  }
}

/// An element of an array that does not keep the next one from being read when it is wrong.
struct ConfigurationElement<Value: Decodable>: Decodable {
  let value: Value?

  init(from decoder: any Decoder) throws {
    do {
      value = try Value(from: decoder)
    } catch {
      decoder.problemCollector.report(error, under: decoder.codingPath.map(JSONSourceMap.Step.init))
      value = nil
    }
  }
}

extension Decoder {
  /// The one that all of a file's decoders share.
  var problemCollector: ProblemCollector {
    ProblemCollector.key.flatMap { userInfo[$0] as? ProblemCollector } ?? ProblemCollector()
  }
}

extension ProblemCollector {
  /// Notes what a decoder threw while it read `path`.
  func report(_ error: any Error, under path: [JSONSourceMap.Step]) {
    switch error {
    case is Incomplete: break
    case DecodingError.typeMismatch(let type, let context),
      DecodingError.valueNotFound(let type, let context):
      report(
        "\(Self.name(of: type)) is wanted", at: context.codingPath.map(JSONSourceMap.Step.init))
    case DecodingError.keyNotFound(let key, let context):
      report(
        "the key \(key.stringValue) is missing",
        at: context.codingPath.map(JSONSourceMap.Step.init))
    case DecodingError.dataCorrupted(let context):
      report(
        context.debugDescription,
        at: context.codingPath.isEmpty ? path : context.codingPath.map(JSONSourceMap.Step.init))
    default: report("\(error)", at: path)
    }
  }

  /// What people call a value of `type`.
  private static func name(of type: Any.Type) -> String {
    switch type {
    case is String.Type: "text in quotes"
    case is Int.Type: "an integer"
    case is Bool.Type: "true or false"
    case is any Collection.Type where "\(type)".hasPrefix("Array"): "a list in [ ]"
    default: "an object in { }"
    }
  }
}
