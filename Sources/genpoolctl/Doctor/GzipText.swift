/// The content of a gzip file (RFC 1952, RFC 1951), for `/proc/config.gz`: a kernel's configuration
/// is in no other place on machines without `/boot`.
///
/// Reads hostile bytes: malformed data and more output than ``limit`` end it.
struct GzipText {
  /// The bytes that were compressed.
  let bytes: [UInt8]

  /// Far more than a kernel's configuration has.
  static let limit = 4 << 20

  /// Unpacks `file`; nil when it is not the whole of a gzip file with one member. O(output).
  init?(unpacking file: [UInt8]) {
    guard file.count >= 18, file[0] == 0x1f, file[1] == 0x8b, file[2] == 8 else { return nil }
    let flags = file[3]
    // Encrypted and reserved.
    guard flags & 0xe0 == 0 else { return nil }
    var start = 10
    if flags & 4 != 0 {
      guard start + 2 <= file.count else { return nil }
      start += 2 + Int(file[start]) + Int(file[start + 1]) << 8
    }
    for flag: UInt8 in [8, 16] where flags & flag != 0 {
      guard start < file.count, let end = file[start...].firstIndex(of: 0) else { return nil }
      start = end + 1
    }
    if flags & 2 != 0 { start += 2 }
    guard start + 8 <= file.count else { return nil }
    var inflation = Inflation(file[start..<(file.count - 8)])
    guard inflation.run() else { return nil }
    bytes = inflation.output
    let trailer = file.suffix(8).enumerated().reduce(into: UInt64(0)) { word, byte in
      word |= UInt64(byte.element) << UInt64(8 * byte.offset)
    }
    guard UInt32(truncatingIfNeeded: trailer) == Self.checksum(bytes),
      UInt32(truncatingIfNeeded: trailer >> 32) == UInt32(truncatingIfNeeded: bytes.count)
    else { return nil }
  }

  /// The CRC-32 of RFC 1952, section 8.
  private static func checksum(_ bytes: [UInt8]) -> UInt32 {
    var remainder: UInt32 = ~0
    for byte in bytes {
      remainder ^= UInt32(byte)
      for _ in 0..<8 { remainder = remainder >> 1 ^ (remainder & 1 == 0 ? 0 : 0xedb8_8320) }
    }
    return ~remainder
  }
}

/// A DEFLATE stream that is being unpacked (RFC 1951).
private struct Inflation {
  private let input: ArraySlice<UInt8>
  private var place: Int
  /// Bits that were taken from ``input`` and not used, the next one lowest.
  private var bits: UInt32 = 0
  private var bitCount = 0
  private(set) var output: [UInt8] = []

  init(_ input: ArraySlice<UInt8>) {
    self.input = input
    place = input.startIndex
  }

  /// A canonical Huffman code: how many codes have each length, and the symbols in their order.
  private struct Code {
    var counts = [Int](repeating: 0, count: 16)
    var symbols: [Int] = []

    /// The code in which symbol `i` has `lengths[i]` bits; nil when more codes are asked for than
    /// there are.
    init?(_ lengths: some Collection<Int>) {
      for length in lengths { counts[length] += 1 }
      counts[0] = 0
      var left = 1
      for length in 1..<16 {
        left = left << 1 - counts[length]
        guard left >= 0 else { return nil }
      }
      for length in 1..<16 {
        for (symbol, its) in lengths.enumerated() where its == length { symbols.append(symbol) }
      }
    }
  }

  /// Unpacks all blocks: whether the stream is well-formed, and within ``GzipText/limit``.
  mutating func run() -> Bool {
    while true {
      guard let isLast = take(1), let kind = take(2) else { return false }
      let isGood =
        switch kind {
        case 0: copyStored()
        case 1: unpack(Self.fixedLiterals, Self.fixedDistances)
        case 2: unpackDynamic()
        default: false
        }
      guard isGood else { return false }
      if isLast == 1 { return true }
    }
  }

  /// The next `count` bits, the first one lowest; nil at the end.
  private mutating func take(_ count: Int) -> Int? {
    while bitCount < count {
      guard place < input.endIndex else { return nil }
      bits |= UInt32(input[place]) << UInt32(bitCount)
      place += 1
      bitCount += 8
    }
    let value = bits & (1 << UInt32(count) - 1)
    bits >>= UInt32(count)
    bitCount -= count
    return Int(value)
  }

  private mutating func decode(_ code: Code) -> Int? {
    var word = 0
    var first = 0
    var index = 0
    for length in 1..<16 {
      guard let bit = take(1) else { return nil }
      word |= bit
      let count = code.counts[length]
      if word - count < first { return code.symbols[index + word - first] }
      index += count
      first = (first + count) << 1
      word <<= 1
    }
    return nil
  }

  private mutating func copyStored() -> Bool {
    bits = 0
    bitCount = 0
    guard let length = take(16), let complement = take(16), length ^ complement == 0xffff,
      place + length <= input.endIndex, output.count + length <= GzipText.limit
    else { return false }
    output += input[place..<(place + length)]
    place += length
    return true
  }

  private static let fixedLiterals = Code(
    (0..<288).map { $0 < 144 ? 8 : $0 < 256 ? 9 : $0 < 280 ? 7 : 8 })
  private static let fixedDistances = Code([Int](repeating: 5, count: 30))
  /// The order in which the lengths of the code of code lengths come.
  private static let order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]

  private mutating func unpackDynamic() -> Bool {
    guard let literals = take(5), let distances = take(5), let codes = take(4), literals < 30
    else { return false }
    var lengths = [Int](repeating: 0, count: 19)
    for index in 0..<(codes + 4) {
      guard let length = take(3) else { return false }
      lengths[Self.order[index]] = length
    }
    guard let code = Code(lengths) else { return false }
    let total = literals + 257 + distances + 1
    var all: [Int] = []
    while all.count < total {
      guard let symbol = decode(code) else { return false }
      var repeated = (value: symbol, count: 1)
      switch symbol {
      case 16:
        guard let last = all.last, let more = take(2) else { return false }
        repeated = (last, 3 + more)
      case 17:
        guard let more = take(3) else { return false }
        repeated = (0, 3 + more)
      case 18:
        guard let more = take(7) else { return false }
        repeated = (0, 11 + more)
      default: break
      }
      all += [Int](repeating: repeated.value, count: repeated.count)
    }
    guard all.count == total else { return false }
    return unpack(Code(all.prefix(literals + 257)), Code(all.dropFirst(literals + 257)))
  }

  /// The shortest length of each length symbol from 257, and its extra bits.
  private static let lengthBases = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 258,
  ]
  private static let lengthBits = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
  ]

  private mutating func unpack(_ literals: Code?, _ distances: Code?) -> Bool {
    guard let literals, let distances else { return false }
    while let symbol = decode(literals) {
      if symbol == 256 { return true }
      if symbol < 256 {
        guard output.count < GzipText.limit else { return false }
        output.append(UInt8(symbol))
        continue
      }
      guard symbol - 257 < Self.lengthBases.count, let more = take(Self.lengthBits[symbol - 257]),
        let step = decode(distances), step < 30
      else { return false }
      // Distances double every two symbols: RFC 1951, section 3.2.5.
      let extra = max(0, step / 2 - 1)
      guard let far = take(extra) else { return false }
      let distance = (step < 2 ? step : (2 + step % 2) << extra) + 1 + far
      let length = Self.lengthBases[symbol - 257] + more
      guard distance <= output.count, output.count + length <= GzipText.limit else { return false }
      for _ in 0..<length { output.append(output[output.count - distance]) }
    }
    return false
  }
}
