/// An array or an object on its way out: its values in the order in which they were encoded.
///
/// Values are gathered before any is written, since an encoder may fill several containers in turn,
/// and keys are sorted.
final class EncodedContainer {
  /// A value. Strings and numbers are written only once their place is known.
  enum Value {
    /// Its type encoded nothing: written as `{}`.
    case none
    case null
    case bool(Bool)
    case integer(Int64)
    case unsigned(UInt64)
    case double(Double)
    case string(String)
    case container(EncodedContainer)
  }

  let isObject: Bool
  /// The keys of an object, one for each value; none in an array.
  private(set) var keys: [String] = []
  private(set) var values: [Value] = []
  /// The container around this one, which lives as long as the encoding, and the place there.
  private unowned let parent: EncodedContainer?
  private let slot: Int

  init(isObject: Bool, in parent: EncodedContainer?, at slot: Int) {
    self.isObject = isObject
    self.parent = parent
    self.slot = slot
  }

  /// Appends a value, of an object with its key. Of several with one key the last counts.
  func append(_ value: Value, key: String? = nil) {
    if let key { keys.append(key) }
    values.append(value)
  }

  /// Appends a place for a value that comes later.
  func appendSlot(key: String? = nil) -> Int {
    append(.none, key: key)
    return values.count - 1
  }

  func set(_ value: Value, at slot: Int) { values[slot] = value }

  /// The container at `slot`, made if there is none of that form.
  func container(at slot: Int, isObject: Bool) -> EncodedContainer {
    if case .container(let container) = values[slot], container.isObject == isObject {
      return container
    }
    let container = EncodedContainer(isObject: isObject, in: self, at: slot)
    values[slot] = .container(container)
    return container
  }

  /// The keys and indices that lead to the value at `slot`.
  func path(to slot: Int) -> JSONPath {
    // The outermost container is the encoder's own: it holds the whole.
    guard parent != nil else { return [] }
    return path + [isObject ? .key(keys[slot]) : .index(slot)]
  }

  /// The keys and indices that lead here.
  var path: JSONPath { parent?.path(to: slot) ?? [] }

  /// The numbers of an object's values by their keys, each key once. By bytes: `<` of strings is of
  /// letters, and two keys may have the same.
  var sortedSlots: [Int] {
    var slots = Array(keys.indices)
    let isSorted = zip(keys, keys.dropFirst()).allSatisfy {
      $0.utf8.lexicographicallyPrecedes($1.utf8)
    }
    if isSorted { return slots }
    slots.sort { left, right in
      let (key, other) = (keys[left].utf8, keys[right].utf8)
      return key.elementsEqual(other) ? left < right : key.lexicographicallyPrecedes(other)
    }
    let last = slots.indices.filter { index in
      index + 1 == slots.count
        || !keys[slots[index]].utf8.elementsEqual(keys[slots[index + 1]].utf8)
    }
    return last.count == slots.count ? slots : last.map { slots[$0] }
  }
}
