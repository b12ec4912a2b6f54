import DeviceMemory
import GenPool
import SystemPackage
import Testing

struct RegisterTests {
  @Test func `a store of each width changes its bytes and no others, the lowest first`() throws {
    try expectStores(of: UInt8.self, 0x11)
    try expectStores(of: UInt16.self, 0x2211)
    try expectStores(of: UInt32.self, 0x4433_2211)
    try expectStores(of: UInt64.self, 0x8877_6655_4433_2211)
  }

  private func expectStores<Value: Register>(of type: Value.Type, _ value: Value) throws {
    let file = try MemoryFile(size: .kibibytes(4))
    let background = [UInt8](repeating: 0xee, count: 64)
    let region = try file.region(size: 64)
    let width = Int(Value.width.rawValue)
    for offset in stride(from: 0, to: 64, by: width) {
      try file.put(background, at: 0)
      try region.mapping.store(value, at: ByteCount(offset))
      var expected = background
      for byte in 0..<width { expected[offset + byte] = UInt8(0x11 * (byte + 1)) }
      #expect(try file.bytes(at: 0, count: 64) == expected)
      #expect(try region.mapping.load(Value.self, at: ByteCount(offset)) == value)
    }
  }

  @Test func `a register has all the values of its width`() throws {
    let region = try MemoryFile(size: .kibibytes(4)).region(size: 64)
    for value in UInt8.min...UInt8.max {
      try region.mapping.store(value, at: 7)
      #expect(try region.mapping.load(UInt8.self, at: 7) == value)
    }
    try region.mapping.store(UInt64.max, at: 8)
    #expect(try region.mapping.load(UInt64.self, at: 8) == .max)
    #expect(try region.mapping.load(UInt32.self, at: 12) == .max)
    try region.mapping.store(0x8000 as UInt16, at: 62)
    #expect(try region.mapping.load(at: 62) == 0x8000 as UInt16)
  }

  @Test func `a misaligned register is refused and not touched`() throws {
    let file = try MemoryFile(size: .kibibytes(4))
    let region = try file.region(size: 64)
    try expectMisaligned(UInt16.self, in: region)
    try expectMisaligned(UInt32.self, in: region)
    try expectMisaligned(UInt64.self, in: region)
    #expect(try file.bytes(at: 0, count: 64).allSatisfy { $0 == 0 })
  }

  private func expectMisaligned<Value: Register>(
    _ type: Value.Type, in region: borrowing Region
  ) throws {
    let width = UInt64(Value.width.rawValue)
    for offset in (0...64 - width) where offset % width != 0 {
      do {
        try region.mapping.store(Value.max, at: ByteCount(offset))
        Issue.record("stored \(width) bytes at \(offset)")
      } catch {
        #expect(error.reason == .misaligned)
        #expect(error.errno == .invalidArgument)
      }
      do {
        _ = try region.mapping.load(Value.self, at: ByteCount(offset))
        Issue.record("loaded \(width) bytes at \(offset)")
      } catch {
        #expect(error.reason == .misaligned)
      }
    }
  }

  @Test func `alignment is the device's, not the offset's`() throws {
    let file = try MemoryFile(size: .kibibytes(4))
    let region = try file.region(at: 2, size: 64)
    try region.mapping.store(0x0403_0201 as UInt32, at: 2)
    #expect(try file.bytes(at: 4, count: 4) == [1, 2, 3, 4])
    #expect(throws: DeviceFault.self) { try region.mapping.store(0 as UInt32, at: 4) }
  }

  @Test func `a register past the end is refused`() throws {
    let region = try MemoryFile(size: .kibibytes(4)).region(size: 62)
    for offset in [62, 63, 64, 4096, UInt64.max, UInt64.max - 7].map(ByteCount.init(_:)) {
      expectOutOfBounds(UInt8.self, at: offset, in: region)
    }
    expectOutOfBounds(UInt16.self, at: 61, in: region)
    expectOutOfBounds(UInt32.self, at: 60, in: region)
    expectOutOfBounds(UInt64.self, at: 56, in: region)
    #expect(try region.mapping.load(UInt64.self, at: 48) == 0)
  }

  private func expectOutOfBounds<Value: Register>(
    _ type: Value.Type, at offset: ByteCount, in region: borrowing Region
  ) {
    do {
      _ = try region.mapping.load(Value.self, at: offset)
      Issue.record("loaded at \(offset)")
    } catch {
      #expect(error.reason == .outOfBounds(size: 62))
    }
    do {
      try region.mapping.store(Value.max, at: offset)
      Issue.record("stored at \(offset)")
    } catch {
      #expect(error.reason == .outOfBounds(size: 62))
    }
  }

  @Test func `a fault says what was tried, where, and what is wrong`() throws {
    let region = try MemoryFile(size: .kibibytes(4)).region(size: 4096)
    do {
      _ = try region.mapping.load(UInt32.self, at: 4096)
    } catch {
      #expect(
        "\(error)" == "load 4 B at 0x1000 of BAR 2 of 0000:01:00.0: "
          + "out of bounds (the memory is 4 KiB long)")
    }
    do {
      try region.mapping.store(0 as UInt64, at: 0x14)
    } catch {
      #expect(
        "\(error)" == "store 8 B at 0x14 of BAR 2 of 0000:01:00.0: "
          + "misaligned (a register access is a multiple of its width)")
    }
  }

  @Test func `fences do not fault`() {
    Fence.stores()
    Fence.loads()
    Fence.all()
  }
}
