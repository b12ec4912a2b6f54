import GenPool

/// A shape of any measures, as plainly as its words.
protocol TinyShape: IndexShape {}

extension TinyShape {
  static func within(_ most: UInt8, in node: NodeBytes) -> UInt64 {
    (0..<(1 << fanOrder)).reduce(0) { $0 | (node[$1] <= most ? 1 << UInt64($1) : 0) }
  }

  static var buildStep: Int { 1 }

  static func least(in node: NodeBytes, except child: Int) -> UInt8 {
    (0..<(1 << fanOrder)).filter { $0 != child }.map { node[$0] }.min() ?? .max
  }
}

/// Blocks of 2 granules, nodes of 2 blocks: 10 granules have 4 levels. Worlds of 8 granules have
/// narrow numbers, of which the largest occurs; those of 9 have wide ones.
enum TwoByTwo: TinyShape {
  static var blockOrder: Int { 1 }
  static var fanOrder: Int { 1 }
  static var narrowLimit: Int { 8 }
}

/// Blocks of 4 granules, nodes of 2 blocks, narrow numbers up to 9.
enum FourByTwo: TinyShape {
  static var blockOrder: Int { 2 }
  static var fanOrder: Int { 1 }
  static var narrowLimit: Int { 9 }
}

/// Blocks of 1 granule: every run is a long one. Narrow numbers up to 7, so that those of blocks
/// are wide as well in worlds of 8 granules.
enum OneByFour: TinyShape {
  static var blockOrder: Int { 0 }
  static var fanOrder: Int { 2 }
  static var narrowLimit: Int { 7 }
}

extension GranuleBitmap {
  /// The map in which those granules are allocated; nil without memory.
  init?(_ taken: [Bool]) {
    var words = [UInt64](repeating: 0, count: (taken.count + 63) / 64)
    for (index, isTaken) in taken.enumerated() where isTaken {
      words[index / 64] |= 1 << (index % 64)
    }
    self.init(count: GranuleCount(taken.count), words: words)
  }
}
