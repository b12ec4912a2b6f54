/// What a chunk has room for at most, by alignment: read without its lock, so that whoever searches
/// many chunks passes over those that cannot serve.
///
/// Byte k of a word is the longest free run from a place that is a multiple of 2^k granules, counted up
/// to ``limit``; it may say more than there is; never less. Two words, because places are counted from address 0 or from the chunk's start.
package struct ChunkBounds: Equatable {
  /// Of places whose address is aligned.
  var byAddress: UInt64
  /// Of places that are aligned counted from the chunk's start.
  var fromStart: UInt64

  /// Longer runs count as this.
  static var limit: Int { 64 }
  /// The highest k; what is aligned to more is aligned to that as well.
  static var greatestOrder: Int { 6 }

  /// Nothing is known but the longest run.
  @inline(__always)
  init(longest: Int) {
    let byte = UInt64(truncatingIfNeeded: min(longest, Self.limit))
    byAddress = byte &* 0x01_0101_0101_0101
    fromStart = byAddress
  }

  /// Says that runs from places of an alignment are no longer than `longest`.
  mutating func limit(order: Int, to longest: Int, byAddress: Bool, fromStart: Bool) {
    let shift = Self.shift(order: order)
    let byte = UInt64(truncatingIfNeeded: min(longest, Self.limit)) &<< shift
    if byAddress { self.byAddress = self.byAddress & ~(0xff &<< shift) | byte }
    if fromStart { self.fromStart = self.fromStart & ~(0xff &<< shift) | byte }
  }

  /// Which byte of a word is meant for an alignment to 2^order granules: how far down to shift it.
  @inline(__always)
  static func shift(order: Int) -> UInt64 {
    UInt64(truncatingIfNeeded: 8 &* min(max(order, 0), greatestOrder))
  }
}

/// What is searched for in chunks that nobody has locked.
struct ChunkQuery {
  /// Of ``ChunkBounds``: the word and its byte.
  let isFromStart: Bool
  let shift: UInt64
  /// The least that the byte must be.
  let least: UInt64

  /// A run of `count` granules from a place of the alignment; of 0 granules: any chunk.
  @inline(__always)
  init(_ count: GranuleCount, order: Int = 0, isFromStart: Bool = false) {
    self.isFromStart = isFromStart
    shift = ChunkBounds.shift(order: order)
    least = UInt64(truncatingIfNeeded: min(count.rawValue, ChunkBounds.limit))
  }
}

/// What an allocation asks of a chunk.
struct ChunkRequest {
  /// The bytes asked for, not the granules that hold them: the kernel compares these.
  let size: ByteCount
  let count: GranuleCount
  /// How long a free run there must be at least for the fit to find anything.
  let run: GranuleCount
  /// The same for those who look at many chunks.
  let query: ChunkQuery
}
