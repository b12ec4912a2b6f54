/// A value of a ``JSONTree``.
package struct JSONValue: Sendable {
  package let tree: JSONTree
  let index: Int

  private var node: JSONTree.Node { tree.nodes[index] }

  /// Its form.
  package var kind: JSONTree.Kind { node.kind }

  /// The number of an array's elements or of an object's keys; 0 for other values.
  var count: Int { Int(node.count) }

  /// The text of a string; nil for another value.
  package var string: String? { kind == .string ? node.string(in: tree.text) : nil }

  /// True or false; nil for another value.
  package var bool: Bool? {
    switch kind {
    case .true: true
    case .false: false
    default: nil
    }
  }

  /// An integer; nil for another value, for a number with a fraction or an exponent, for `-0`, and
  /// for one that does not fit.
  package func integer<Value: FixedWidthInteger>(as type: Value.Type) -> Value? {
    kind == .number ? tree.text.integer(node.range, as: type) : nil
  }

  /// A number; nil for another value, and beyond a `Double`.
  package var double: Double? {
    guard kind == .number else { return nil }
    return Double(String(decoding: tree.text[node.range], as: UTF8.self)).flatMap {
      $0.isFinite ? $0 : nil
    }
  }

  /// Whether a number is an integer by its form.
  var isInteger: Bool { kind == .number && tree.text.isInteger(node.range) }

  /// The bytes of the text that the value takes.
  var literal: ArraySlice<UInt8> { tree.text[node.range] }

  // MARK: Inside

  /// An object's keys with their values, in the order of the text, repeated ones as well; none for
  /// another value.
  package var members: [(key: String, value: JSONValue)] {
    guard kind == .object else { return [] }
    return children.map { (tree.nodes[$0.index - 1].string(in: tree.text), $0) }
  }

  /// The least of the keys whose values `isWanted` accepts; nil when there is none.
  package func firstKey(where isWanted: (JSONValue) -> Bool) -> String? {
    guard kind == .object else { return nil }
    var first: String?
    var child = firstChild
    while let value = child {
      if isWanted(value) {
        let key = tree.nodes[value.index - 1].string(in: tree.text)
        first = first.map { min($0, key) } ?? key
      }
      child = value.sibling
    }
    return first
  }

  /// An object's keys, each once, in the order of the text; none for another value.
  var distinctKeys: [String] {
    guard kind == .object else { return [] }
    let keys = children.map { $0.index - 1 }
    let repeated = Set(tree.repeatedKeyNodes)
    let distinct = repeated.isEmpty ? keys : keys.filter { !repeated.contains($0) }
    return distinct.map { tree.nodes[$0].string(in: tree.text) }
  }

  /// An array's elements; none for another value.
  package var elements: [JSONValue] { kind == .array ? children : [] }

  private var children: [JSONValue] {
    var children: [JSONValue] = []
    children.reserveCapacity(count)
    var child = firstChild
    while let value = child {
      children.append(value)
      child = value.sibling
    }
    return children
  }

  /// The first value in an array or an object.
  var firstChild: JSONValue? {
    guard count > 0 else { return nil }
    return JSONValue(tree: tree, index: index + (kind == .object ? 2 : 1))
  }

  /// The next value in the array or object around this one.
  var sibling: JSONValue? {
    let next = Int(node.next)
    guard node.parent >= 0, next < tree.nodes[Int(node.parent)].next else { return nil }
    return JSONValue(tree: tree, index: tree.nodes[next].kind == .key ? next + 1 : next)
  }

  /// The value of an object's first key `name`; nil when there is none. O(keys).
  package subscript(name: String) -> JSONValue? {
    guard kind == .object else { return nil }
    var child = firstChild
    while let value = child {
      if value.hasKey(name) { return value }
      child = value.sibling
    }
    return nil
  }

  /// Whether the key before this value is `name`, scalar by scalar.
  package func hasKey(_ name: String) -> Bool {
    let key = tree.nodes[index - 1]
    guard key.hasEscapes else {
      return Int(key.length) - 2 == name.utf8.count
        && tree.text[key.inside].elementsEqual(name.utf8)
    }
    return key.contents(in: tree.text).elementsEqual(name.utf8)
  }

  /// The bytes of the key before this value.
  var keyBytes: [UInt8] { tree.nodes[index - 1].contents(in: tree.text) }

  // MARK: Place

  /// The keys and indices that lead here. O(depth).
  package var path: JSONPath {
    var path = JSONPath()
    var index = index
    while tree.nodes[index].parent >= 0 {
      let node = tree.nodes[index]
      let isMember = tree.nodes[Int(node.parent)].kind == .object
      path.append(
        isMember
          ? .key(tree.nodes[index - 1].string(in: tree.text)) : .index(Int(node.position)))
      index = Int(node.parent)
    }
    path.reverse()
    return path
  }

  /// The first repeated key inside this value, by its path; nil when each is there once.
  package var firstRepeatedKey: JSONPath? {
    let inside = index..<Int(node.next)
    return tree.repeatedKeyNodes.first { inside.contains($0) }.map {
      JSONValue(tree: tree, index: $0 + 1).path
    }
  }

  /// The byte of the text where it begins.
  var start: Int { Int(node.start) }

  /// The byte of the text where the key before it begins.
  var keyStart: Int { Int(tree.nodes[index - 1].start) }

  // MARK: Decoding

  /// A value of `type`, read from this one.
  /// - Throws: `DecodingError`, and what the type itself throws.
  package func decode<Value: Decodable>(_ type: Value.Type) throws -> Value {
    try Value(from: JSONValueDecoder(self))
  }
}

/// The keys and indices that lead from the whole to a value inside it.
package typealias JSONPath = [JSONSourceMap.Step]
