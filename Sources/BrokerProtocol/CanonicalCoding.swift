// The messages of a lease, coded by hand.
//
// Codable is what all messages are coded by, and what decides on each. It takes about 25 us for a
// lease and its end, a quarter of their whole time, so the four messages that every lease costs
// have a second way: written without it, as the same bytes; read without it from just these bytes.
// Any other text, even one with a blank more, and any value without a JSON form are left to Codable
// with its checks and refusals: nothing is refused here. `CanonicalCodingTests` holds the two
// together.

import GenPool
import StrictJSON

/// A part of a message that is written and read without Codable.
protocol CanonicallyCoded: Codable, Sendable {
  /// Writes the bytes that Codable does. Returns false for what has no JSON form, with anything
  /// written.
  func write(to output: inout JSONOutput) -> Bool
  /// Takes what ``write(to:)`` writes; nil for another text.
  init?(from scanner: inout CanonicalScanner)
}

extension JSONOutput {
  /// Writes a member of an object; false for what has no JSON form.
  fileprivate mutating func write(_ key: StaticString, _ value: some CanonicallyCoded) -> Bool {
    write(key: key)
    return value.write(to: &self)
  }

  /// The same; nothing is written for nil.
  fileprivate mutating func write(_ key: StaticString, _ value: (some CanonicallyCoded)?) -> Bool {
    guard let value else { return true }
    return write(key, value)
  }

  fileprivate mutating func writeReply(
    _ parameters: some CanonicallyCoded, continues: Bool
  ) -> Bool {
    if continues { writeFlag("continues") }
    return write("parameters", parameters)
  }

  fileprivate mutating func writeFlag(_ key: StaticString) {
    write(key: key)
    write(true)
  }
}

extension CanonicalScanner {
  /// Takes a flag that is set. One that is given as false is another text.
  fileprivate mutating func takeFlag(_ key: StaticString) -> Bool {
    takeKey(key) && take("true")
  }

  /// Takes a member of an object; nil for another text.
  fileprivate mutating func member<Value: CanonicallyCoded>(
    _ key: StaticString, as type: Value.Type = Value.self
  ) -> Value? {
    takeKey(key) ? Value(from: &self) : nil
  }

  /// Takes a member of an object that may be left out; nil for another text.
  fileprivate mutating func optionalMember<Value: CanonicallyCoded>(
    _ key: StaticString, as type: Value.Type = Value.self
  ) -> Value?? {
    guard takeKey(key) else { return .some(nil) }
    guard let value = Value(from: &self) else { return nil }
    return value
  }
}

// MARK: Envelopes

/// A call as one frame; nil for one that Codable is to encode.
func canonicalCall(
  _ method: String, _ parameters: some VarlinkParameters, oneway: Bool, more: Bool
) -> [UInt8]? {
  func write(_ parameters: some CanonicallyCoded) -> [UInt8]? {
    canonicalFrame { output in
      output.write(key: "method")
      output.write(method)
      if more { output.writeFlag("more") }
      if oneway { output.writeFlag("oneway") }
      return output.write("parameters", parameters)
    }
  }
  if let acquire = parameters as? Broker1.Acquire.Parameters { return write(acquire) }
  if let release = parameters as? Broker1.Release.Parameters { return write(release) }
  return nil
}

/// A reply as one frame; nil for one that Codable is to encode.
func canonicalReply(_ parameters: some Encodable, continues: Bool) -> [UInt8]? {
  // Not by the protocol: a cast to that takes longer than the coding.
  if let lease = parameters as? Broker1.Acquire.Reply {
    return canonicalFrame { $0.writeReply(lease, continues: continues) }
  }
  if let empty = parameters as? EmptyReply {
    return canonicalFrame { $0.writeReply(empty, continues: continues) }
  }
  return nil
}

private func canonicalFrame(_ writeMembers: (inout JSONOutput) -> Bool) -> [UInt8]? {
  var output = JSONOutput()
  output.beginObject()
  guard writeMembers(&output) else { return nil }
  output.endObject()
  output.end(with: 0)
  return output.bytes
}

/// A call of a lease in the one form that ``canonicalCall(_:_:oneway:more:)`` gives it.
struct CanonicalCall {
  let method: String
  let more: Bool
  let oneway: Bool
  let parameters: any VarlinkParameters

  /// Reads a frame; nil for another text, which may be a call too.
  init?(frame: [UInt8]) {
    var scanner = CanonicalScanner(frame)
    guard scanner.take("{"), scanner.takeKey("method"), let method = scanner.takeString() else {
      return nil
    }
    self.method = method
    more = scanner.takeFlag("more")
    oneway = scanner.takeFlag("oneway")
    switch method {
    case Broker1.Acquire.name:
      guard let parameters: Broker1.Acquire.Parameters = scanner.member("parameters") else {
        return nil
      }
      self.parameters = parameters
    case Broker1.Release.name:
      guard let parameters: Broker1.Release.Parameters = scanner.member("parameters") else {
        return nil
      }
      self.parameters = parameters
    default: return nil
    }
    guard scanner.take("}"), scanner.isAtEnd else { return nil }
  }
}

/// The last reply to a call of a lease, in the one form that ``canonicalReply(_:continues:)`` gives
/// it.
struct CanonicalReply {
  let parameters: any Sendable

  /// Reads a frame; nil for another text, which may be a reply too.
  init?(frame: [UInt8]) {
    var scanner = CanonicalScanner(frame)
    guard scanner.take("{"), scanner.takeKey("parameters") else { return nil }
    if let empty = EmptyReply(from: &scanner) {
      parameters = empty
    } else if let reply = Broker1.Acquire.Reply(from: &scanner) {
      parameters = reply
    } else {
      return nil
    }
    guard scanner.take("}"), scanner.isAtEnd else { return nil }
  }
}

// MARK: Messages

extension Broker1.Acquire.Parameters: CanonicallyCoded {
  func write(to output: inout JSONOutput) -> Bool {
    output.beginObject()
    defer { output.endObject() }
    return output.write("alignment", alignment) && output.write("bytes", bytes)
      && output.write("fit", fit) && output.write("label", label)
      && output.write("offset", offset) && output.write("pool", pool)
      && output.write("requestKey", requestKey) && output.write("wait", wait)
  }

  init?(from scanner: inout CanonicalScanner) {
    guard scanner.take("{"), let alignment: ByteCount? = scanner.optionalMember("alignment"),
      let bytes: ByteCount = scanner.member("bytes"),
      let fit: Broker1.FitName? = scanner.optionalMember("fit"),
      let label: String? = scanner.optionalMember("label"),
      let offset: ByteCount? = scanner.optionalMember("offset"),
      let pool: String? = scanner.optionalMember("pool"),
      let requestKey: String? = scanner.optionalMember("requestKey"),
      let wait: Milliseconds? = scanner.optionalMember("wait"), scanner.take("}")
    else { return nil }
    self.init(
      pool: pool, bytes: bytes, alignment: alignment, fit: fit, offset: offset,
      requestKey: requestKey, wait: wait, label: label)
  }
}

extension Broker1.Acquire.Reply: CanonicallyCoded {
  func write(to output: inout JSONOutput) -> Bool {
    output.beginObject()
    defer { output.endObject() }
    return output.write("descriptor", descriptor) && output.write("lease", lease)
  }

  init?(from scanner: inout CanonicalScanner) {
    guard scanner.take("{"), let descriptor: Int = scanner.member("descriptor"),
      let lease: Broker1.Lease = scanner.member("lease"), scanner.take("}")
    else { return nil }
    self.init(lease: lease, descriptor: descriptor)
  }
}

extension Broker1.Lease: CanonicallyCoded {
  func write(to output: inout JSONOutput) -> Bool {
    output.beginObject()
    defer { output.endObject() }
    return output.write("bus", bus) && output.write("caching", caching)
      && output.write("generation", generation) && output.write("isolation", isolation)
      && output.write("label", label) && output.write("lease", lease)
      && output.write("mapOffset", mapOffset)
      && output.write("offset", offset) && output.write("physical", physical)
      && output.write("pid", pid) && output.write("pool", pool) && output.write("size", size)
      && output.write("state", state) && output.write("uid", uid)
  }

  init?(from scanner: inout CanonicalScanner) {
    guard scanner.take("{"), let bus: BusAddress? = scanner.optionalMember("bus"),
      let caching: String = scanner.member("caching"),
      let generation: Generation = scanner.member("generation"),
      let isolation: String = scanner.member("isolation"),
      let label: String? = scanner.optionalMember("label"),
      let lease: LeaseID = scanner.member("lease"),
      let mapOffset: ByteCount = scanner.member("mapOffset"),
      let offset: ByteCount = scanner.member("offset"),
      let physical: PhysicalAddress? = scanner.optionalMember("physical"),
      let pid: PID = scanner.member("pid"), let pool: String = scanner.member("pool"),
      let size: ByteCount = scanner.member("size"),
      let state: Broker1.LeaseState = scanner.member("state"),
      let uid: UID = scanner.member("uid"), scanner.take("}")
    else { return nil }
    self.init(
      lease: lease, generation: generation, pool: pool, offset: offset, size: size,
      physical: physical, bus: bus, mapOffset: mapOffset, caching: caching, isolation: isolation,
      uid: uid, pid: pid, state: state, label: label)
  }
}

extension Broker1.Release.Parameters: CanonicallyCoded {
  func write(to output: inout JSONOutput) -> Bool {
    output.beginObject()
    defer { output.endObject() }
    return output.write("generation", generation) && output.write("lease", lease)
  }

  init?(from scanner: inout CanonicalScanner) {
    guard scanner.take("{"), let generation: Generation = scanner.member("generation"),
      let lease: LeaseID = scanner.member("lease"), scanner.take("}")
    else { return nil }
    self.init(lease: lease, generation: generation)
  }
}

extension EmptyReply: CanonicallyCoded {
  func write(to output: inout JSONOutput) -> Bool {
    output.beginObject()
    output.endObject()
    return true
  }

  init?(from scanner: inout CanonicalScanner) {
    guard scanner.take("{}") else { return nil }
    self.init()
  }
}

// MARK: Values

extension String: CanonicallyCoded {
  func write(to output: inout JSONOutput) -> Bool {
    output.write(self)
    return true
  }

  init?(from scanner: inout CanonicalScanner) {
    guard let text = scanner.takeString() else { return nil }
    self = text
  }
}

/// An integer that is written as it is, if varlink's signed ones hold it.
extension CanonicallyCoded where Self: FixedWidthInteger {
  func write(to output: inout JSONOutput) -> Bool {
    guard let integer = Int64(exactly: self) else { return false }
    output.write(integer)
    return true
  }

  init?(from scanner: inout CanonicalScanner) {
    guard let integer = scanner.takeInteger(), let value = Self(exactly: integer) else {
      return nil
    }
    self = value
  }
}

extension Int: CanonicallyCoded {}
extension Int32: CanonicallyCoded {}
extension Int64: CanonicallyCoded {}
extension UInt32: CanonicallyCoded {}
extension UInt64: CanonicallyCoded {}

/// A value that stands for itself: written as what it wraps.
extension CanonicallyCoded where Self: RawRepresentable, RawValue: CanonicallyCoded {
  func write(to output: inout JSONOutput) -> Bool { rawValue.write(to: &output) }

  init?(from scanner: inout CanonicalScanner) {
    guard let value = RawValue(from: &scanner) else { return nil }
    self.init(rawValue: value)
  }
}

extension LeaseID: CanonicallyCoded {}
extension Generation: CanonicallyCoded {}
extension UID: CanonicallyCoded {}
extension PID: CanonicallyCoded {}
extension Milliseconds: CanonicallyCoded {}
extension Broker1.FitName: CanonicallyCoded {}
extension Broker1.LeaseState: CanonicallyCoded {}

extension ByteCount: CanonicallyCoded {
  func write(to output: inout JSONOutput) -> Bool { rawValue.write(to: &output) }

  init?(from scanner: inout CanonicalScanner) {
    guard let count = UInt64(from: &scanner) else { return nil }
    self.init(count)
  }
}

extension Address: CanonicallyCoded {
  func write(to output: inout JSONOutput) -> Bool {
    output.write(description)
    return true
  }

  init?(from scanner: inout CanonicalScanner) {
    guard let text = scanner.takeString(), let address = Address(text) else { return nil }
    self = address
  }
}
