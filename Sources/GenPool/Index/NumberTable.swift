/// Numbers from 0 to a limit that is known when the table is made, of 32 bits each if that is
/// enough (``IndexShape/narrowLimit``) and else of 64. All are 0 at first.
@safe
struct NumberTable<Shape: IndexShape>: ~Copyable {
  // SAFETY: as many words as hold the numbers, which no other type is read or written as.
  private let words: Table<UInt64>
  /// Whether numbers are of 64 bits: what takes many of them asks once, and says the width then.
  let isWide: Bool

  /// `count` numbers up to `limit`; nil without memory for them.
  init?(count: Int, upTo limit: Int) {
    guard let words = Table<UInt64>(count: Self.wordCount(count, upTo: limit)) else { return nil }
    self.init(upTo: limit, words)
  }

  /// The same in an arena, where they were planned.
  init(count: Int, upTo limit: Int, in arena: inout Arena) {
    self.init(upTo: limit, arena.table(Self.wordCount(count, upTo: limit)))
  }

  private init(upTo limit: Int, _ words: consuming Table<UInt64>) {
    self.words = words
    isWide = limit > Shape.narrowLimit
  }

  /// Plans such a table.
  static func plan(count: Int, upTo limit: Int, in plan: inout ArenaPlan) {
    _ = plan.place(UInt64.self, wordCount(count, upTo: limit))
  }

  private static func wordCount(_ count: Int, upTo limit: Int) -> Int {
    max(1, limit > Shape.narrowLimit ? count : count / 2 + count % 2)
  }

  /// The number of numbers; an odd one that is narrow has another beside it that stays 0.
  var count: Int { isWide ? words.count : 2 &* words.count }

  @unsafe @inline(__always)
  private var numbers: UnsafeMutableRawPointer {
    unsafe UnsafeMutableRawPointer(words.pointer(to: 0))
  }

  /// The memory this takes, in bytes, if all of it is used.
  var byteCount: Int { words.byteCount }

  @inline(__always)
  subscript(index: Int) -> Int {
    get { isWide ? self[index, UInt64.self] : self[index, UInt32.self] }
    nonmutating set {
      if isWide { self[index, UInt64.self] = newValue } else { self[index, UInt32.self] = newValue }
    }
  }

  /// The same where the width is known: `Word` is `UInt64` if ``isWide``, else `UInt32`.
  @inline(__always)
  subscript<Word: FixedWidthInteger & BitwiseCopyable>(index: Int, _: Word.Type) -> Int {
    get {
      assert(index >= 0 && index < count, "outside the table")
      assert((Word.bitWidth == 64) == isWide, "numbers of another width")
      let offset = index &* MemoryLayout<Word>.size
      return unsafe Int(truncatingIfNeeded: numbers.load(fromByteOffset: offset, as: Word.self))
    }
    nonmutating set {
      assert(index >= 0 && index < count, "outside the table")
      assert((Word.bitWidth == 64) == isWide, "numbers of another width")
      assert(newValue >= 0 && (isWide || newValue <= Shape.narrowLimit), "above the table's limit")
      let offset = index &* MemoryLayout<Word>.size
      let numbers = unsafe numbers
      unsafe numbers.storeBytes(
        of: Word(truncatingIfNeeded: newValue), toByteOffset: offset, as: Word.self)
    }
  }
}
