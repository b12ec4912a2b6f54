import CGenPoolInline

/// A fixed number of elements, zeroed: what the indexes are made of.
///
/// Large tables come from the kernel untouched, so that making one takes no time and what is never
/// used takes no memory. Those of a cache line and more start at the border of one. Indices are
/// checked in debug builds only.
@safe
struct Table<Element: BitwiseCopyable>: ~Copyable {
  /// How many elements.
  let count: Int
  // SAFETY: memory for `count` elements, owned from init to deinit or part of an arena that
  // outlives the table; every Element is made of integers, for which zeroed memory is a value.
  private let elements: UnsafeMutablePointer<Element>
  /// The allocation, if it is owned: `elements` start at the next border of a cache line.
  private let base: UnsafeMutableRawPointer?

  /// `count` elements, all bits zero; nil without memory for them.
  init?(count: Int) {
    let (size, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
    guard !overflow, let base = unsafe gp_zeroed_allocate(size) else { return nil }
    self.count = count
    unsafe elements = base.alignedUp(toMultipleOf: 64).assumingMemoryBound(to: Element.self)
    unsafe self.base = base
  }

  @unsafe
  fileprivate init(count: Int, in arena: UnsafeMutableRawPointer) {
    self.count = count
    unsafe elements = arena.assumingMemoryBound(to: Element.self)
    unsafe base = nil
  }

  deinit { if let base = unsafe base { unsafe gp_zeroed_free(base, byteCount) } }

  /// The memory this takes, in bytes, if all of it is used.
  var byteCount: Int { count &* MemoryLayout<Element>.stride }

  @inline(__always)
  subscript(index: Int) -> Element {
    get {
      assert(index >= 0 && index < count, "outside the table")
      return unsafe elements[index]
    }
    nonmutating set {
      assert(index >= 0 && index < count, "outside the table")
      let elements = unsafe elements
      unsafe elements[index] = newValue
    }
  }

  /// The elements from `index` on, for those who read several at a time.
  @unsafe @inline(__always)
  func pointer(to index: Int) -> UnsafeMutablePointer<Element> {
    assert(index >= 0 && index < count, "outside the table")
    return unsafe elements + index
  }

  /// Sets all bytes of `range`. Long zeroed ranges take no memory afterwards.
  func fill(_ range: Range<Int>, withBytes byte: UInt8) {
    assert(range.lowerBound >= 0 && range.upperBound <= count, "outside the table")
    let size = range.count &* MemoryLayout<Element>.stride
    unsafe gp_fill(elements + range.lowerBound, byte, size)
  }
}

/// Which tables lie in an ``Arena``, in the order in which they are made.
struct ArenaPlan {
  /// The bytes that all tables so far take.
  private(set) var byteCount = 0

  /// Adds a table of `count` elements; the byte at which it starts.
  mutating func place<Element>(_: Element.Type, _ count: Int) -> Int {
    let size = count * MemoryLayout<Element>.stride
    // Small ones share cache lines: a chunk of a few granules is all of small ones.
    let border = size < 64 ? 8 : 64
    let start = (byteCount + border - 1) & ~(border - 1)
    byteCount = start + size
    return start
  }
}

/// Memory for tables that begin and end together: one allocation where each would take its own.
@safe
struct Arena: ~Copyable {
  // SAFETY: the tables made here are used no longer than their arena: both are parts of one index.
  private let memory: Table<UInt8>
  private var plan = ArenaPlan()

  /// Room for the tables that `plan` says; nil without memory for it.
  init?(_ plan: ArenaPlan) {
    guard let memory = Table<UInt8>(count: plan.byteCount) else { return nil }
    self.memory = memory
  }

  /// The next table of the plan: `count` elements, all bits zero.
  mutating func table<Element>(_ count: Int) -> Table<Element> {
    let start = plan.place(Element.self, count)
    precondition(plan.byteCount <= memory.count, "a table that was not planned")
    guard count > 0 else { return unsafe Table(count: 0, in: memory.pointer(to: 0)) }
    return unsafe Table(count: count, in: memory.pointer(to: start))
  }
}
