/// What the index knows of one alignment: where the granules lie whose index is `phase` modulo
/// 2^`order`, and which free runs start at them.
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

/// The alignments that were asked for so far, beside that of one granule.
// SAFETY: `places` is owned until deinit; its first `count` elements are initialized.
@safe
struct PlacesList<Shape: IndexShape>: ~Copyable {
  private(set) var count = 0
  /// Room for all there can be, from the first on: most chunks never have one.
  private var places: UnsafeMutablePointer<Places<Shape>>

  /// Two phases for each order: that of the chunk's address, and 0.
  private static var capacity: Int { 2 * Int.bitWidth }

  /// None. No memory is taken: `places` leads nowhere until there is one.
  init() {
    unsafe places = UnsafeMutableRawPointer(bitPattern: MemoryLayout<Places<Shape>>.alignment)
      .unsafelyUnwrapped.assumingMemoryBound(to: Places<Shape>.self)
  }

  deinit {
    guard count > 0 else { return }
    unsafe places.deinitialize(count: count)
    unsafe places.deallocate()
  }

  /// The number of the alignment with these measures; nil when it is not in the list.
  func number(order: Int, phase: Int) -> Int? {
    for number in 0..<count {
      if unsafe places[number].order == order, unsafe places[number].phase == phase {
        return number
      }
    }
    return nil
  }

  /// Adds an alignment; its number.
  mutating func append(_ new: consuming Places<Shape>) -> Int {
    precondition(count < Self.capacity, "an order has two phases")
    if count == 0 { unsafe places = .allocate(capacity: Self.capacity) }
    let places = unsafe places
    unsafe (places + count).initialize(to: new)
    count += 1
    return count - 1
  }

  subscript(number: Int) -> Places<Shape> {
    _read { yield unsafe places[number] }
    _modify {
      let places = unsafe places
      yield unsafe &places[number]
    }
  }
}
