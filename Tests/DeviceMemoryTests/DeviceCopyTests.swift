import DeviceMemory
import GenPool
import Reference
import Testing

/// Zero, write and read against a plain array, seen through the file and through the region.
struct DeviceCopyTests {
  /// All heads, tails and lengths around the word of eight bytes.
  @Test func `every small run is zeroed, written and read to the byte`() throws {
    let size = 48
    let file = try MemoryFile(size: .kibibytes(4))
    let region = try file.region(size: ByteCount(size))
    let background = (0..<size).map { UInt8($0 + 1) }
    for offset in 0...size {
      for count in 0...size - offset {
        try file.put(background, at: 0)
        #expect(
          try region.read(at: ByteCount(offset), count: ByteCount(count))
            == Array(background[offset..<offset + count]))

        var expected = background
        let bytes = (0..<count).map { UInt8(0x80 + $0) }
        expected.replaceSubrange(offset..<offset + count, with: bytes)
        try region.write(bytes, at: ByteCount(offset))
        #expect(try file.bytes(at: 0, count: size) == expected)

        expected.replaceSubrange(offset..<offset + count, with: repeatElement(0, count: count))
        try region.zero(at: ByteCount(offset), count: ByteCount(count))
        #expect(try file.bytes(at: 0, count: size) == expected)
      }
    }
  }

  @Test func `a long random history agrees with a plain array`() throws {
    let seed: UInt64 = 20_261_121
    var random = SplitMix64(seed: seed)
    let size = 3 * 4096 + 5
    let file = try MemoryFile(size: .kibibytes(16))
    let region = try file.region(at: 3, size: ByteCount(size))
    var model = [UInt8](repeating: 0, count: size)
    for step in 0..<2000 {
      let offset = Int.random(in: 0...size, using: &random)
      let count = Int.random(in: 0...min(size - offset, 600), using: &random)
      switch Int.random(in: 0..<3, using: &random) {
      case 0:
        try region.zero(at: ByteCount(offset), count: ByteCount(count))
        model.replaceSubrange(offset..<offset + count, with: repeatElement(0, count: count))
      case 1:
        let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
        try region.write(bytes, at: ByteCount(offset))
        model.replaceSubrange(offset..<offset + count, with: bytes)
      default:
        let bytes = try region.read(at: ByteCount(offset), count: ByteCount(count))
        #expect(bytes == Array(model[offset..<offset + count]), "seed \(seed), step \(step)")
      }
    }
    #expect(try file.bytes(at: 3, count: size) == model)
    #expect(try file.bytes(at: 0, count: 3) == [0, 0, 0], "nothing before the range is touched")
  }

  @Test func `host memory of any alignment is a source`() throws {
    let file = try MemoryFile(size: .kibibytes(4))
    let region = try file.region(size: 64)
    let bytes = (0..<64).map { UInt8($0) }
    for skipped in 0..<16 {
      let span = unsafe bytes.span.bytes.extracting(skipped..<skipped + 40)
      try region.write(span, at: 5)
      #expect(try file.bytes(at: 5, count: 40) == Array(bytes[skipped..<skipped + 40]))
    }
  }

  @Test func `runs past the end are refused before anything is touched`() throws {
    let file = try MemoryFile(size: .kibibytes(4))
    try file.put([UInt8](repeating: 7, count: 4096), at: 0)
    let region = try file.region(size: 100)
    let far = ByteCount(UInt64.max)
    for (offset, count) in [(0, 101), (100, 1), (99, 2), (101, 0), (far, 0), (far, 1), (1, far)]
      as [(ByteCount, ByteCount)]
    {
      let outside = DeviceFault.Reason.outOfBounds(size: 100)
      expect(outside) { () throws(DeviceFault) in try region.zero(at: offset, count: count) }
      expect(outside) { () throws(DeviceFault) in _ = try region.read(at: offset, count: count) }
      expect(outside) { () throws(DeviceFault) in try region.verifyZero(at: offset, count: count) }
    }
    expect(.outOfBounds(size: 100)) { () throws(DeviceFault) in try region.write([1, 2], at: 99) }
    #expect(try file.bytes(at: 0, count: 4096).allSatisfy { $0 == 7 })
    try region.zero(at: 100, count: 0)
    try region.write([], at: 100)
    #expect(try region.read(at: 100, count: 0) == [])
  }

  // MARK: Verifying

  @Test func `a byte that is not zero is found wherever it is, when every byte is looked at`()
    throws
  {
    let file = try MemoryFile(size: .kibibytes(4))
    let region = try file.region(size: 64)
    for start in 0..<20 {
      for count in 0...64 - start {
        for stride in [0, 1, 8] as [ByteCount] {
          try region.verifyZero(at: ByteCount(start), count: ByteCount(count), everyBytes: stride)
        }
      }
      for position in start..<40 {
        try file.put([1], at: ByteCount(position))
        for stride in [0, 1, 8] as [ByteCount] {
          do {
            try region.verifyZero(
              at: ByteCount(start), count: ByteCount(40 - start), everyBytes: stride)
            Issue.record("missed the byte at \(position) from \(start), every \(stride)")
          } catch {
            guard case .notZero(let offset, let found) = error.reason else {
              Issue.record(error)
              continue
            }
            #expect(offset.rawValue <= UInt64(position) && UInt64(position) < offset.rawValue + 8)
            #expect(found != 0)
          }
        }
        // Bytes outside of what is verified do not count.
        try region.verifyZero(at: 0, count: ByteCount(position), everyBytes: 1)
        try region.verifyZero(
          at: ByteCount(position + 1), count: ByteCount(63 - position), everyBytes: 1)
        try file.put([0], at: ByteCount(position))
      }
    }
  }

  @Test func `a sample looks at each stride's first word and at the last byte`() throws {
    let file = try MemoryFile(size: .kibibytes(64))
    let region = try file.region(size: .kibibytes(64))
    for position in [0, 7, 4096, 8192, 65528, 65535] as [UInt64] {
      try file.put([1], at: ByteCount(position))
      expect(.notZero(offset: ByteCount(position & ~7), found: 1 << (position % 8 * 8))) {
        () throws(DeviceFault) in
        try region.verifyZero(at: 0, count: .kibibytes(64))
      }
      try file.put([0], at: ByteCount(position))
    }
    try file.put([1], at: 2048)
    try region.verifyZero(at: 0, count: .kibibytes(64))
    #expect(throws: DeviceFault.self) {
      try region.verifyZero(at: 0, count: .kibibytes(64), everyBytes: 2048)
    }
    try region.verifyZero(at: 0, count: .kibibytes(2), everyBytes: ByteCount(UInt64.max))
  }

  private func expect(
    _ reason: DeviceFault.Reason, at location: SourceLocation = #_sourceLocation,
    _ body: () throws(DeviceFault) -> Void
  ) {
    do {
      try body()
      Issue.record("nothing was thrown", sourceLocation: location)
    } catch {
      #expect(error.reason == reason, sourceLocation: location)
    }
  }
}
