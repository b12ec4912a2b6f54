/// What the index knows of the free runs that start at the granules whose index is `phase` modulo
/// 2^`order`, however long they are.
struct Places<Shape: IndexShape>: ~Copyable {
  let order: Int
  let phase: Int
  var reach: ReachTree<Shape>
  var rooms: Rooms<Shape>

  /// The places `phase` modulo 2^`order`; nil without memory. O(blocks).
  init?(order: Int, phase: Int, runs: borrowing LongRuns<Shape>, bitmap: borrowing GranuleBitmap) {
    guard let reach = ReachTree<Shape>(order: order, phase: phase, bitmap: bitmap),
      let rooms = Rooms<Shape>(order: order, phase: phase, runs: runs, bitmap: bitmap)
    else { return nil }
    self.order = order
    self.phase = phase
    self.reach = reach
    self.rooms = rooms
  }

  /// The memory this takes, in bytes.
  var byteCount: Int { reach.byteCount + rooms.byteCount }

  /// The most granules that are free from any place on.
  @inline(__always)
  var longest: Int { max(Int(reach.longest), rooms.longest) }

  /// The lowest place for `length` granules; nil when there is none.
  func first(
    _ length: Int, _ runs: borrowing LongRuns<Shape>, _ bitmap: borrowing GranuleBitmap
  ) -> Int? {
    length <= Shape.block ? reach.first(length, in: bitmap) : rooms.first(length, runs, bitmap)
  }
}

/// A few structures that are made one by one when they are asked for.
// SAFETY: `elements` is owned from init to deinit; its first `count` elements are initialized.
@safe
struct Collected<Element: ~Copyable>: ~Copyable {
  private(set) var count = 0
  private let capacity: Int
  private let elements: UnsafeMutablePointer<Element>

  init(capacity: Int) {
    self.capacity = capacity
    unsafe elements = .allocate(capacity: capacity)
  }

  deinit {
    unsafe elements.deinitialize(count: count)
    unsafe elements.deallocate()
  }

  /// The number of the first element of which `holds` is true; nil when there is none.
  @inline(__always)
  func number(where holds: (borrowing Element) -> Bool) -> Int? {
    for number in 0..<count where unsafe holds(elements[number]) { return number }
    return nil
  }

  /// Adds an element; its number.
  mutating func append(_ new: consuming Element) -> Int {
    precondition(count < capacity, "there are no more kinds than there is room for")
    let elements = unsafe elements
    unsafe (elements + count).initialize(to: new)
    count += 1
    return count - 1
  }

  @inline(__always)
  subscript(number: Int) -> Element {
    _read { yield unsafe elements[number] }
    _modify {
      let elements = unsafe elements
      yield unsafe &elements[number]
    }
  }
}
