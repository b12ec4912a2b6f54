/// What the index knows of the free runs that start at the granules whose index is `phase` modulo
/// 2^`order`, however long they are.
struct Places<Shape: IndexShape>: ~Copyable {
  let order: Int
  let phase: Int
  var reach: ReachTree<Shape>
  var rooms: Rooms<Shape>

  /// The places `phase` modulo 2^`order`; nil without memory. O(blocks).
  init?(order: Int, phase: Int, runs: borrowing LongRuns<Shape>, bitmap: borrowing GranuleBitmap) {
    guard
      let reach = ReachTree<Shape>(order: order, phase: phase, runs: runs, bitmap: bitmap),
      let rooms = Rooms<Shape>(order: order, phase: phase, runs: runs, bitmap: bitmap)
    else { return nil }
    self.order = order
    self.phase = phase
    self.reach = reach
    self.rooms = rooms
  }

  /// The places of every granule, in an arena where they were planned.
  init(
    runs: borrowing LongRuns<Shape>, bitmap: borrowing GranuleBitmap, in arena: inout Arena
  ) {
    order = 0
    phase = 0
    reach = ReachTree(runs: runs, bitmap: bitmap, in: &arena)
    rooms = Rooms(runs: runs, bitmap: bitmap, in: &arena)
  }

  /// Plans the tables of such places.
  static func plan(count: Int, in plan: inout ArenaPlan) {
    ReachTree<Shape>.plan(count: count, in: &plan)
    Rooms<Shape>.plan(count: count, in: &plan)
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
// SAFETY: `elements` is owned until deinit; its first `count` elements are initialized.
@safe
struct Collected<Element: ~Copyable>: ~Copyable {
  private(set) var count = 0
  private let capacity: Int
  /// Room for all there can be, from the first on: most chunks never have one.
  private var elements: UnsafeMutablePointer<Element>?

  init(capacity: Int) {
    self.capacity = capacity
    unsafe elements = nil
  }

  deinit {
    guard let elements = unsafe elements else { return }
    unsafe elements.deinitialize(count: count)
    unsafe elements.deallocate()
  }

  /// The number of the first element of which `holds` is true; nil when there is none.
  @inline(__always)
  func number(where holds: (borrowing Element) -> Bool) -> Int? {
    guard let elements = unsafe elements else { return nil }
    for number in 0..<count where unsafe holds(elements[number]) { return number }
    return nil
  }

  /// Adds an element; its number.
  mutating func append(_ new: consuming Element) -> Int {
    precondition(count < capacity, "there are no more kinds than there is room for")
    let elements = unsafe elements ?? .allocate(capacity: capacity)
    unsafe self.elements = elements
    unsafe (elements + count).initialize(to: new)
    count += 1
    return count - 1
  }

  @inline(__always)
  subscript(number: Int) -> Element {
    _read {
      guard let elements = unsafe elements else { preconditionFailure("nothing was asked for") }
      yield unsafe elements[number]
    }
    _modify {
      guard let elements = unsafe elements else { preconditionFailure("nothing was asked for") }
      yield unsafe &elements[number]
    }
  }
}
