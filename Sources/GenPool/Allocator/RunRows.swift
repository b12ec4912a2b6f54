import CGenPoolInline

/// Rows of bytes, one for each alignment, counted from address 0 and from a chunk's start: a byte
/// for each slot of a ``Roster``, which is what ``AlignedRuns`` says of the slot's chunk. A search
/// of many chunks reads those of eight slots at a time.
///
/// A chunk's bytes are written with its lock held, and read without: what is read of one byte says
/// nothing of the next.
// SAFETY: owned from init to deinit, every byte initialized; slots are checked in debug builds.
@safe
struct RunRows: ~Copyable {
  /// The bytes of a row: a multiple of eight, so that all can be read in eights.
  private let rowLength: Int
  private let bytes: UnsafeMutablePointer<UInt8>

  /// A bit for each byte of a word, its highest.
  private static var highest: UInt64 { 0x8080_8080_8080_8080 }
  private static var each: UInt64 { 0x0101_0101_0101_0101 }
  private static var orders: Int { AlignedRuns.greatestOrder + 1 }

  /// Rows for `slots` slots, without a run in any.
  init(slots: Int) {
    rowLength = (slots + 7) & ~7
    let length = 2 * Self.orders * rowLength
    let memory = UnsafeMutableRawPointer.allocate(byteCount: length, alignment: 64)
    unsafe bytes = memory.bindMemory(to: UInt8.self, capacity: length)
    unsafe bytes.initialize(repeating: UInt8(AlignedRuns.limit), count: length)
  }

  deinit { unsafe UnsafeMutableRawPointer(bytes).deallocate() }

  // MARK: Reading

  /// The highest slot below `end` whose runs lack at most `most`, 0 to 64, at an order; −1 for
  /// none.
  @inline(__always)
  func slot(
    below end: Int, _ order: Int, fromChunkStart: Bool, lackingAtMost most: UInt64
  ) -> Int {
    guard end > 0 else { return -1 }
    let row = row(order, fromChunkStart)
    // No byte is above 64, so that no difference borrows from the next.
    let limit = Self.highest | most &* Self.each
    var index = (end &- 1) &>> 3
    var wanted = Self.highest &>> UInt64(truncatingIfNeeded: 56 &- 8 &* ((end &- 1) & 7))
    while index >= 0 {
      let found = (limit &- word(index, ofRow: row)) & wanted
      if found != 0 { return 8 &* index &+ (63 &- found.leadingZeroBitCount) &>> 3 }
      wanted = Self.highest
      index &-= 1
    }
    return -1
  }

  /// The least that any of the slots below `end` lacks at an order; 64 when there are none.
  func least(_ order: Int, fromChunkStart: Bool, below end: Int) -> Int {
    let row = row(order, fromChunkStart)
    var least = UInt64(AlignedRuns.limit) &* Self.each
    for index in 0..<(end &+ 7) &>> 3 { least = Self.lesser(least, word(index, ofRow: row)) }
    for shift: UInt64 in [32, 16, 8] { least = Self.lesser(least, least &>> shift) }
    return Int(truncatingIfNeeded: least & 0xff)
  }

  /// The lesser of each two bytes, which are below 128.
  @inline(__always)
  private static func lesser(_ one: UInt64, _ other: UInt64) -> UInt64 {
    let isLess = ((one | highest) &- other) & highest
    // All bits of the bytes that are no more in the other.
    let chosen = (isLess &>> 7) &* 0xff
    return other & chosen | one & ~chosen
  }

  /// The first byte of the row of an order; those above the greatest have its.
  @inline(__always)
  private func row(_ order: Int, _ fromChunkStart: Bool) -> Int {
    (min(max(order, 0), AlignedRuns.greatestOrder) &+ (fromChunkStart ? Self.orders : 0))
      &* rowLength
  }

  /// The eight bytes of a row from slot 8 × `index` on, the lowest slot's the lowest.
  @inline(__always)
  private func word(_ index: Int, ofRow row: Int) -> UInt64 {
    assert(index >= 0 && 8 * index < rowLength, "outside the rows")
    return unsafe gp_load_eight(bytes + (row &+ 8 &* index))
  }

  /// Whether a slot says `runs` of a chunk whose start is `origin`, in granules. For checking.
  func says(_ runs: AlignedRuns, in slot: Int, origin: UInt64) -> Bool {
    (0...AlignedRuns.greatestOrder).allSatisfy { order in
      let (byAddress, fromStart) = unsafe (
        bytes[row(order, false) + slot], bytes[row(order, true) + slot]
      )
      return byAddress == runs.counted(from: origin).lack(order) && fromStart == runs.lack(order)
    }
  }

  // MARK: Writing

  /// The bytes of a slot.
  func column(_ slot: Int) -> Column {
    assert(slot >= 0 && slot < rowLength, "outside the rows")
    return unsafe Column(bytes: bytes + slot, rowLength: rowLength)
  }

  /// A slot's bytes, written with the lock of its chunk held, or when it has none.
  // SAFETY: used no longer than the rows are there.
  @safe
  struct Column {
    fileprivate let bytes: UnsafeMutablePointer<UInt8>
    fileprivate let rowLength: Int

    /// Writes all, of a chunk whose start is `origin`, in granules.
    func write(_ runs: AlignedRuns, origin: UInt64 = 0) {
      let byAddress = runs.counted(from: origin)
      for order in 0..<orders {
        store(byAddress.lack(order), order)
        store(runs.lack(order), orders + order)
      }
    }

    /// Writes what differs from `old`: the lines are shared with other chunks.
    @inline(never)
    func change(from old: AlignedRuns, to new: AlignedRuns, origin: UInt64) {
      var difference = old.rawValue ^ new.rawValue
      while difference != 0 {
        let order = difference.trailingZeroBitCount &>> 3
        difference &= ~0xff &<< AlignedRuns.shift(order)
        store(new.lack(order), orders &+ order)
        // Above, places by address are others, and nothing is known of them.
        if order <= origin.trailingZeroBitCount { store(new.lack(order), order) }
      }
    }

    @inline(__always)
    private func store(_ lack: UInt8, _ row: Int) {
      unsafe gp_store_byte(bytes + row &* rowLength, lack)
    }
  }
}
