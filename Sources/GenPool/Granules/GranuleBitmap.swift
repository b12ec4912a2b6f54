import CGenPoolInline

/// Which granules of a chunk are allocated: the truth about the chunk.
///
/// Bit i of the map is bit i mod 64 of word i / 64; 1 = allocated. This is the kernel's layout on
/// 64-bit machines, so that algorithms written for it read it as it is. No method checks for a lock:
/// the chunk's is held.
///
/// What lies outside the map counts as allocated: the bits behind the last granule are 1 in storage,
/// and so are a word before the map and some behind it. So a search never asks where the map ends.
public struct GranuleBitmap: GranuleWords, ~Copyable {
  /// How many granules there are.
  public let count: GranuleCount
  /// `wordCount` words, between guards.
  private let storage: Table<UInt64>

  /// Words before the map that read as allocated.
  private static var guardBefore: Int { 1 }
  /// Words behind the map that read as allocated: what two words from the last granule on may touch.
  private static var guardBehind: Int { 2 }

  /// A map of `count` free granules; nil without memory for it. Constant time for large maps.
  init?(count: GranuleCount) {
    guard let storage = Table<UInt64>(count: Self.storedWordCount(count.rawValue)) else {
      return nil
    }
    self.init(count, storage)
  }

  /// The same in an arena, where it was planned.
  init(count: GranuleCount, in arena: inout Arena) {
    self.init(count, arena.table(Self.storedWordCount(count.rawValue)))
  }

  private init(_ count: GranuleCount, _ storage: consuming Table<UInt64>) {
    let words = Self.wordCount(count.rawValue)
    for index in 0..<Self.guardBefore { storage[index] = ~0 }
    for index in 0..<Self.guardBehind { storage[words + Self.guardBefore + index] = ~0 }
    self.count = count
    self.storage = storage
    if words > 0 { setWord(words - 1, ~tailMask) }
  }

  /// Plans the table of such a map.
  static func plan(count: Int, in plan: inout ArenaPlan) {
    _ = plan.place(UInt64.self, storedWordCount(count))
  }

  private static func storedWordCount(_ count: Int) -> Int {
    wordCount(count) + guardBefore + guardBehind
  }

  /// A map from explicit words, lowest granules first; missing words are free granules.
  package init?(count: GranuleCount, words source: [UInt64]) {
    self.init(count: count)
    for index in 0..<min(source.count, wordCount) { setWord(index, source[index]) }
    if wordCount > 0 { setWord(wordCount - 1, storedWord(wordCount - 1) | ~tailMask) }
  }

  /// The words themselves, for algorithms in C, which only read them.
  @unsafe
  package func withUnsafeWords<Result>(_ body: (UnsafeMutablePointer<UInt>) -> Result) -> Result {
    let words = unsafe storage.pointer(to: Self.guardBefore)
    return unsafe words.withMemoryRebound(to: UInt.self, capacity: wordCount) { unsafe body($0) }
  }

  /// The lowest of the words `first ..< end` from one of whose positions, bits of `positions`,
  /// `length` granules are free, 1 to 64; nil when there is none. O(words), several at a time.
  func firstWord(
    from first: Int, to end: Int, withRunOf length: Int, from positions: UInt64
  ) -> Int? {
    let words = unsafe storage.pointer(to: Self.guardBefore)
    let word = unsafe Int(gp_first_word(words, first, end, UInt32(length), positions))
    return word < end ? word : nil
  }

  /// The same with 0 behind the last granule, as in the kernel, for an algorithm that looks further
  /// than it should. The chunk's lock is held.
  @unsafe
  package func withUnsafeKernelWords<Result>(
    _ body: (UnsafeMutablePointer<UInt>) -> Result
  ) -> Result {
    let last = wordCount - 1
    if last >= 0 { setWord(last, storedWord(last) & tailMask) }
    defer { if last >= 0 { setWord(last, storedWord(last) | ~tailMask) } }
    return unsafe withUnsafeWords(body)
  }

  private static func wordCount(_ bits: Int) -> Int { bits / 64 + (bits % 64 == 0 ? 0 : 1) }

  /// The bits of the last word that are granules.
  private var tailMask: UInt64 {
    let tail = count.rawValue & 63
    return tail == 0 ? ~0 : ~(~0 &<< UInt64(truncatingIfNeeded: tail))
  }

  /// How many words hold the map.
  public var wordCount: Int { Self.wordCount(count.rawValue) }

  /// The memory this takes, in bytes.
  var byteCount: Int { storage.byteCount }

  /// The 64 granules from 64 × `index` on, lowest first; bits at and above ``count`` are 0 and mean
  /// nothing. Traps outside `0 ..< wordCount`.
  public func word(_ index: Int) -> UInt64 {
    precondition(index >= 0 && index < wordCount, "a word outside the bitmap")
    return index == wordCount - 1 ? storedWord(index) & tailMask : storedWord(index)
  }

  /// The word as it is stored: outside the map all granules are allocated.
  @inline(__always)
  package func storedWord(_ index: Int) -> UInt64 { storage[index &+ Self.guardBefore] }

  @inline(__always)
  private func setWord(_ index: Int, _ word: UInt64) { storage[index &+ Self.guardBefore] = word }

  /// Whether a granule is allocated; traps outside the map.
  public func isAllocated(_ index: GranuleIndex) -> Bool {
    precondition(index.rawValue >= 0 && index.rawValue < count.rawValue, "not in the bitmap")
    return storedWord(index.rawValue >> 6) >> UInt64(index.rawValue & 63) & 1 != 0
  }

  /// 1 if a granule is allocated, else 0; those right outside the map are.
  @inline(__always)
  func bit(_ granule: Int) -> Int {
    let word = storedWord(granule &>> 6)
    return Int(truncatingIfNeeded: word &>> UInt64(truncatingIfNeeded: granule & 63) & 1)
  }

  // MARK: Windows

  /// The 64 granules from `start` on, bit 0 the lowest, 1 = free. Constant time.
  @inline(__always)
  func freeBits(from start: Int) -> UInt64 {
    let word = start &>> 6
    let bit = UInt64(truncatingIfNeeded: start & 63)
    return ~storedWord(word) &>> bit | (~storedWord(word &+ 1) &<< 1) &<< (63 &- bit)
  }

  /// How many granules are free from `start` on, up to 64. Constant time.
  @inline(__always)
  func freeCount(from start: Int) -> Int { (~freeBits(from: start)).trailingZeroBitCount }

  /// How many granules are free right before `end`, up to 64. Constant time.
  @inline(__always)
  func freeCount(before end: Int) -> Int {
    let word = end &>> 6
    let bit = UInt64(truncatingIfNeeded: end & 63)
    let free = ~storedWord(word &- 1) &>> bit | (~storedWord(word) &<< 1) &<< (63 &- bit)
    return (~free).leadingZeroBitCount
  }

  // MARK: Scanning

  /// The lowest granule of `run` that is free, nil when all are allocated. The run may reach past
  /// the map's end: what lies there counts as free.
  @inline(__always)
  func firstFree(in run: GranuleRun) -> GranuleIndex? {
    let wanted = run.count.rawValue
    if wanted > 0, wanted <= 64, run.end.rawValue <= count.rawValue,
      freeBits(from: run.first.rawValue) &<< UInt64(truncatingIfNeeded: 64 &- wanted) == 0
    {
      return nil
    }
    return scanForFree(in: run)
  }

  @inline(never)
  private func scanForFree(in run: GranuleRun) -> GranuleIndex? {
    let free = nextFree(from: run.first.rawValue)
    return free < run.end.rawValue ? GranuleIndex(max(free, run.first.rawValue)) : nil
  }

  // MARK: Changing

  /// Marks a run as allocated. The run lies in the map and is free.
  @inline(__always)
  mutating func allocate(_ run: GranuleRun) {
    if run.count.rawValue <= 64 {
      let (low, high) = Self.masks(run)
      let word = run.first.rawValue &>> 6
      setWord(word, storedWord(word) | low)
      setWord(word &+ 1, storedWord(word &+ 1) | high)
    } else {
      fill(run, isAllocated: true)
    }
  }

  /// Marks a run as free. The run lies in the map and is allocated.
  @inline(__always)
  mutating func free(_ run: GranuleRun) {
    if run.count.rawValue <= 64 {
      let (low, high) = Self.masks(run)
      let word = run.first.rawValue &>> 6
      setWord(word, storedWord(word) & ~low)
      setWord(word &+ 1, storedWord(word &+ 1) & ~high)
    } else {
      fill(run, isAllocated: false)
    }
  }

  /// Marks granules of one word as allocated: 1 for each, from the lowest that is `shift` granules
  /// into it.
  @inline(__always)
  mutating func allocate(_ granules: UInt64, inWord word: Int, from shift: Int) {
    setWord(word, storedWord(word) | granules &<< UInt64(truncatingIfNeeded: shift))
  }

  /// Marks granules of one word as free: 1 for each, from the lowest that is `shift` granules into it.
  @inline(__always)
  mutating func free(_ granules: UInt64, inWord word: Int, from shift: Int) {
    setWord(word, storedWord(word) & ~(granules &<< UInt64(truncatingIfNeeded: shift)))
  }

  /// The bits of a run of 1 to 64 granules in its first word and in the next.
  @inline(__always)
  private static func masks(_ run: GranuleRun) -> (low: UInt64, high: UInt64) {
    let ones: UInt64 = ~0 &>> UInt64(truncatingIfNeeded: 64 &- run.count.rawValue)
    let bit = UInt64(truncatingIfNeeded: run.first.rawValue & 63)
    return (ones &<< bit, (ones &>> 1) &>> (63 &- bit))
  }

  @inline(never)
  private mutating func fill(_ run: GranuleRun, isAllocated: Bool) {
    assert(run.first.rawValue >= 0 && run.end <= GranuleIndex(0) + count, "a run outside the map")
    let first = run.first.rawValue &>> 6
    let last = (run.end.rawValue &- 1) &>> 6
    // More than a word: the first and the last are different, and those between whole.
    let low: UInt64 = ~0 &<< UInt64(truncatingIfNeeded: run.first.rawValue & 63)
    let high: UInt64 = ~0 &>> UInt64(truncatingIfNeeded: 63 &- (run.end.rawValue &- 1) & 63)
    setWord(first, isAllocated ? storedWord(first) | low : storedWord(first) & ~low)
    setWord(last, isAllocated ? storedWord(last) | high : storedWord(last) & ~high)
    let start = first &+ 1 &+ Self.guardBefore
    storage.fill(start..<last &+ Self.guardBefore, withBytes: isAllocated ? .max : 0)
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
    for index in 0..<wordCount { sum += word(index).nonzeroBitCount }
    return GranuleCount(sum)
  }
}
