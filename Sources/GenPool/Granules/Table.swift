import CGenPoolInline

/// A fixed number of elements, zeroed, on a cache line's border: what the indexes are made of.
///
/// Large tables come from the kernel untouched, so that making one takes no time and what is never
/// used takes no memory. Indices are checked in debug builds only.
@safe
struct Table<Element: BitwiseCopyable>: ~Copyable {
  /// How many elements.
  let count: Int
  // SAFETY: owned from init to deinit; `elements` is `base` moved up to the next line; every
  // Element is made of integers, for which zeroed memory is a value.
  private let base: UnsafeMutableRawPointer
  private let elements: UnsafeMutablePointer<Element>

  /// `count` elements, all bits zero; nil without memory for them.
  init?(count: Int) {
    let (size, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
    guard !overflow, let base = unsafe gp_zeroed_allocate(size, 64) else { return nil }
    self.count = count
    unsafe self.base = base
    unsafe elements = base.alignedUp(toMultipleOf: 64).assumingMemoryBound(to: Element.self)
  }

  deinit { unsafe gp_zeroed_free(base) }

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
  func pointer(to index: Int) -> UnsafePointer<Element> {
    assert(index >= 0 && index < count, "outside the table")
    return unsafe UnsafePointer(elements + index)
  }
}
