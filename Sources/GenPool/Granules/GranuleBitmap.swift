import CGenPoolInline

/// Which granules of a chunk are allocated: the truth about the chunk.
///
/// Bit i of the map is bit i mod 64 of word i / 64; 1 = allocated. This is the kernel's layout on
/// 64-bit machines, so that algorithms written for it read it as it is. Bits at and above
/// ``count`` are 0 and mean nothing. No method checks for a lock: the chunk's is held.
@safe
public struct GranuleBitmap: ~Copyable {
  /// How many granules there are.
  public let count: GranuleCount
  // SAFETY: owned from init to deinit, wordCount words, never handed out.
  private let words: UnsafeMutablePointer<UInt64>

  /// A map of `count` free granules; nil without memory for it. Constant time for large maps.
  init?(count: GranuleCount) {
    guard let words = unsafe gp_words_allocate(Self.wordCount(count.rawValue)) else { return nil }
    self.count = count
    unsafe self.words = words
  }

  /// A map from explicit words, lowest granules first; missing words are free granules.
  package init?(count: GranuleCount, words source: [UInt64]) {
    self.init(count: count)
    let words = unsafe self.words
    for index in 0..<min(source.count, wordCount) { unsafe words[index] = source[index] }
    let tail = count.rawValue % 64
    if tail != 0 { unsafe words[wordCount - 1] &= ~(~0 << UInt64(tail)) }
  }

  /// A map of the granules in `source`, in the kernel's layout. What lies behind `count` is ignored.
  @unsafe
  package init?(count: GranuleCount, copying source: UnsafeRawPointer) {
    let words = unsafe UnsafeRawBufferPointer(
      start: source, count: Self.wordCount(count.rawValue) * 8)
    self.init(count: count, words: unsafe Array(words.bindMemory(to: UInt64.self)))
  }

  deinit { unsafe gp_words_free(words) }

  /// The words themselves, for algorithms in C, which only read them.
  @unsafe
  package func withUnsafeWords<Result>(_ body: (UnsafeMutablePointer<UInt>) -> Result) -> Result {
    unsafe words.withMemoryRebound(to: UInt.self, capacity: wordCount) { unsafe body($0) }
  }

  private static func wordCount(_ bits: Int) -> Int { bits / 64 + (bits % 64 == 0 ? 0 : 1) }

  /// How many words hold the map.
  public var wordCount: Int { Self.wordCount(count.rawValue) }

  /// The 64 granules from 64 × `index` on, lowest first; traps outside `0 ..< wordCount`.
  public func word(_ index: Int) -> UInt64 {
    precondition(index >= 0 && index < wordCount, "a word outside the bitmap")
    return unsafe words[index]
  }

  /// Whether a granule is allocated; traps outside the map.
  public func isAllocated(_ index: GranuleIndex) -> Bool {
    precondition(index.rawValue >= 0 && index.rawValue < count.rawValue, "not in the bitmap")
    return unsafe words[index.rawValue >> 6] >> UInt64(index.rawValue & 63) & 1 != 0
  }

  /// The lowest free granule at or after `start`, or ``count`` when there is none. O(words).
  @inline(__always)
  func nextFree(from start: Int) -> Int {
    let limit = count.rawValue
    guard start < limit else { return limit }
    var word = start >> 6
    var bits = unsafe ~words[word] & (~0 &<< UInt64(truncatingIfNeeded: start))
    let last = (limit &- 1) >> 6
    while bits == 0 {
      guard word < last else { return limit }
      word &+= 1
      bits = unsafe ~words[word]
    }
    return min(word &<< 6 &+ bits.trailingZeroBitCount, limit)
  }

  /// The lowest allocated granule in `start ..< limit`, or `limit`. `limit` ≤ ``count``. O(words).
  @inline(__always)
  func nextAllocated(from start: Int, limit: Int) -> Int {
    guard start < limit else { return limit }
    var word = start >> 6
    var bits = unsafe words[word] & (~0 &<< UInt64(truncatingIfNeeded: start))
    let last = (limit &- 1) >> 6
    while bits == 0 {
      guard word < last else { return limit }
      word &+= 1
      bits = unsafe words[word]
    }
    return min(word &<< 6 &+ bits.trailingZeroBitCount, limit)
  }

  /// The lowest granule of `run` that is free, nil when all are allocated. The run may reach past
  /// the map's end: what lies there counts as free.
  func firstFree(in run: GranuleRun) -> GranuleIndex? {
    let free = nextFree(from: run.first.rawValue)
    return free < run.end.rawValue ? GranuleIndex(max(free, run.first.rawValue)) : nil
  }

  /// Marks a run as allocated. The run lies in the map and is free.
  mutating func allocate(_ run: GranuleRun) {
    unsafe forEachWord(of: run) { words, index, mask in unsafe words[index] |= mask }
  }

  /// Marks a run as free. The run lies in the map and is allocated.
  mutating func free(_ run: GranuleRun) {
    unsafe forEachWord(of: run) { words, index, mask in unsafe words[index] &= ~mask }
  }

  @inline(__always)
  private func forEachWord(
    of run: GranuleRun, _ body: (UnsafeMutablePointer<UInt64>, Int, UInt64) -> Void
  ) {
    assert(run.first.rawValue >= 0 && run.end <= GranuleIndex(0) + count, "a run outside the map")
    var word = run.first.rawValue >> 6
    var shift = run.first.rawValue & 63
    var rest = run.count.rawValue
    while rest > 0 {
      let part = min(64 &- shift, rest)
      let mask: UInt64 =
        (~0 &>> UInt64(truncatingIfNeeded: 64 &- part)) &<< UInt64(truncatingIfNeeded: shift)
      unsafe body(words, word, mask)
      rest &-= part
      shift = 0
      word &+= 1
    }
  }

  /// Visits the maximal free runs, lowest first, until `body` returns false. O(words).
  package func forEachFreeRun(_ body: (GranuleRun) -> Bool) {
    var start = nextFree(from: 0)
    while start < count.rawValue {
      let end = nextAllocated(from: start, limit: count.rawValue)
      let run = GranuleRun(first: GranuleIndex(start), count: GranuleCount(end - start))
      guard body(run) else { return }
      start = nextFree(from: end)
    }
  }

  /// How many granules are allocated. O(words).
  package var allocatedCount: GranuleCount {
    var sum = 0
    for index in 0..<wordCount { unsafe sum += words[index].nonzeroBitCount }
    return GranuleCount(sum)
  }
}
