/// The slabs of one cache by address: a hash table with an entry for each window of 64 granules in
/// which a slab has a part.
///
/// Open addressing, linear probing, at most half full, no marks for what was removed. Slabs may
/// overlap, where a slab was taken from what an older one gave back: the caller looks at each.
struct SlabDirectory: ~Copyable {
  /// Windows in the upper half of an entry, in the lower half the slab's number plus 1; 0 for none.
  private var entries: Table<UInt64>
  private var count = 0
  private var mask: Int
  /// The size of a window, as a power of two of bytes.
  private let order: UInt64

  /// An empty directory; nil without memory.
  init?(granule: GranuleSize) {
    guard let entries = Table<UInt64>(count: 64) else { return nil }
    self.entries = entries
    mask = 63
    order = min(63, UInt64(granule.order) + 6)
  }

  /// The answer of `body` for a slab's number that may have `address`, until there is one.
  @inline(__always)
  func first<Answer>(at address: AnyAddress, _ body: (Int) -> Answer?) -> Answer? {
    let window = window(of: address.rawValue)
    var place = place(of: window)
    while true {
      let entry = entries[place]
      if entry == 0 { return nil }
      if entry &>> 32 == window,
        let answer = body(Int(truncatingIfNeeded: entry & 0xffff_ffff) &- 1)
      {
        return answer
      }
      place = (place &+ 1) & mask
    }
  }

  /// Adds a slab; false without memory, and then nothing has changed.
  mutating func insert(_ slab: SlabReference, number: Int) -> Bool {
    let windows = windows(of: slab)
    while 2 * (count + windows.count) > mask {
      guard grow() else { return false }
    }
    for window in windows { insert(window << 32 | UInt64(number + 1)) }
    return true
  }

  mutating func remove(_ slab: SlabReference, number: Int) {
    for window in windows(of: slab) {
      let entry = (window & 0xffff_ffff) << 32 | UInt64(number + 1)
      var place = place(of: window & 0xffff_ffff)
      while entries[place] != entry { place = (place + 1) & mask }
      close(place)
    }
  }

  private mutating func insert(_ entry: UInt64) {
    var place = place(of: entry >> 32)
    while entries[place] != 0 { place = (place + 1) & mask }
    entries[place] = entry
    count += 1
  }

  /// Empties a place, and moves entries up that would not be found behind the gap.
  private mutating func close(_ first: Int) {
    var gap = first
    var next = (first + 1) & mask
    while entries[next] != 0 {
      let home = place(of: entries[next] >> 32)
      if (next - home) & mask >= (next - gap) & mask {
        entries[gap] = entries[next]
        gap = next
      }
      next = (next + 1) & mask
    }
    entries[gap] = 0
    count -= 1
  }

  private mutating func grow() -> Bool {
    guard var table = Table<UInt64>(count: 2 * (mask + 1)) else { return false }
    swap(&table, &entries)
    mask = 2 * mask + 1
    count = 0
    for place in 0..<table.count where table[place] != 0 { insert(table[place]) }
    return true
  }

  private func windows(of slab: SlabReference) -> ClosedRange<UInt64> {
    let start = slab.pointee.start.rawValue
    return start >> order...(start + slab.pointee.byteCount - 1) >> order
  }

  @inline(__always)
  private func window(of address: UInt64) -> UInt64 { (address &>> order) & 0xffff_ffff }

  @inline(__always)
  private func place(of window: UInt64) -> Int {
    // Fibonacci hashing: neighbours lie apart.
    Int(truncatingIfNeeded: (window &* 0x9e37_79b9_7f4a_7c15) &>> 32) & mask
  }
}
