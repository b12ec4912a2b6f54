/// A JSON text (RFC 8259) that was read: its values and their places in it.
///
/// Choices that the RFC leaves to readers: the text is UTF-8 without a byte order mark,
/// arrays and objects lie in each other at most ``depthLimit`` deep, and half of a surrogate pair
/// is no character. Repeated keys are listed, for the user of the tree to refuse.
///
/// Nodes stand in the order of the text; a key stands directly before its value.
package final class JSONTree: Sendable {
  /// Arrays and objects that may lie in each other. Ours need 6.
  package static let depthLimit = 64

  let text: [UInt8]
  let nodes: [Node]
  /// The nodes of keys that their object has already, in the order of the text.
  let repeatedKeyNodes: [Int]
  let userInfo: [CodingUserInfoKey: any Sendable]

  /// The forms of a value, and of a key.
  package enum Kind: UInt8, Sendable {
    case object, array, string, number, `true`, `false`, null
    case key
  }

  /// A value or a key. Numbers of 32 bits, so that long lists stay small.
  struct Node: Sendable {
    let kind: Kind
    /// Whether a string or a key has any.
    let hasEscapes: Bool
    let start: Int32
    var end: Int32
    /// The node that follows this one and all inside it.
    var next: Int32
    /// The array or object around it; −1 for the whole.
    let parent: Int32
    /// The number of the values before it there.
    let position: Int32
    /// The number of its values.
    var count: Int32

    var length: Int32 { end - start }
    /// The bytes of the text that it takes.
    var range: Range<Int> { Int(start)..<Int(end) }
    /// The bytes between a string's quotes.
    var inside: Range<Int> { Int(start) + 1..<Int(end) - 1 }

    /// The bytes that a string or a key stands for.
    func contents(in text: [UInt8]) -> [UInt8] {
      hasEscapes ? text.unescaped(inside) : Array(text[inside])
    }

    /// The text that a string or a key stands for.
    func string(in text: [UInt8]) -> String {
      hasEscapes
        ? String(decoding: text.unescaped(inside), as: UTF8.self)
        : String(decoding: text[inside], as: UTF8.self)
    }
  }

  /// Reads a text. O(n).
  ///
  /// - Parameter userInfo: passed to types that are decoded from it.
  /// - Throws: the first place where it is no JSON, and why.
  package init(
    _ text: [UInt8], userInfo: [CodingUserInfoKey: any Sendable] = [:]
  ) throws(JSONSyntaxError) {
    var reader = JSONReader(text)
    try reader.readDocument()
    self.text = text
    self.userInfo = userInfo
    nodes = reader.nodes
    repeatedKeyNodes = reader.repeatedKeys.sorted()
  }

  /// The whole.
  package var root: JSONValue { JSONValue(tree: self, index: 0) }

  /// An object without keys, where nothing is the same as that.
  package static let emptyObject: JSONValue = {
    do {
      return try JSONTree(Array("{}".utf8)).root
    } catch {
      preconditionFailure("{} is JSON")
    }
  }()

  /// The paths of keys that their object has already, in the order of the text.
  package var repeatedKeys: [JSONPath] {
    repeatedKeyNodes.map { JSONValue(tree: self, index: $0 + 1).path }
  }
}
