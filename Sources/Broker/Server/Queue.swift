/// Elements in the order in which they came. Adding and taking are O(1) in the long run, however
/// many there are.
struct Queue<Element> {
  /// The places of those that were taken are still in it, before ``first``, until they are half of
  /// it.
  private var elements: [Element?] = []
  private var taken = 0

  var isEmpty: Bool { taken == elements.count }

  var count: Int { elements.count - taken }

  /// The next one to be taken.
  var first: Element? { isEmpty ? nil : elements[taken] }

  mutating func append(_ element: Element) { elements.append(element) }

  mutating func append(contentsOf others: [Element]) {
    elements.append(contentsOf: others.lazy.map { $0 })
  }

  /// Takes the first; nil when there is none.
  mutating func popFirst() -> Element? {
    guard let element = first else { return nil }
    elements[taken] = nil
    taken += 1
    if taken * 2 >= elements.count {
      elements.removeFirst(taken)
      taken = 0
    }
    return element
  }
}
