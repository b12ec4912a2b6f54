/// Something that takes bytes from outside, and what must hold whatever they are.
///
/// A target traps when a property is broken; traps in the code under test, and what the address
/// sanitizer finds, count as well. To add one: a file in `Targets`, its name in ``all``, at least one
/// input in `Corpus/NAME`, and if it helps words in `Dictionaries/NAME.dict`.
struct FuzzTarget: Sendable {
  /// Names its corpus and dictionary as well.
  let name: String
  /// Tries one input, its repetitions written out (``expandingRepetitions(_:)``). Must depend on nothing else, or findings could not be reproduced.
  let test: @Sendable ([UInt8]) -> Void

  static let all: [FuzzTarget] = [
    .frames, .calls, .replies, .bars, .controller, .attributes, .arguments, .json, .configuration,
    .log,
  ]
}

/// What `bytes` add up to (FNV-1a, 64 bits): choices that an input has no room for are drawn from it,
/// so that inputs stay what they look like.
func digest(_ bytes: [UInt8]) -> UInt64 {
  bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
}
