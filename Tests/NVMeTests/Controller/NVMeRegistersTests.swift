import GenPool
import NVMe
import Testing

/// The registers as a whole, read from bytes.
@Suite struct NVMeRegistersTests {
  /// 4 KiB with 32-bit words at some offsets.
  private func image(_ words: [Int: UInt32]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 4096)
    for (offset, word) in words {
      for byte in 0..<4 { bytes[offset + byte] = UInt8(truncatingIfNeeded: word >> (8 * byte)) }
    }
    return bytes
  }

  @Test func `fewer than 4 KiB are no registers`() {
    #expect(NVMeRegisters([UInt8](repeating: 0, count: 4095)) == nil)
  }

  @Test func `capabilities are taken from both halves`() throws {
    // QEMU's: 2048 entries, contiguous, 7.5 s, NVM commands, pages of 4 to 64 KiB, CMB and PMR.
    let registers = try #require(
      NVMeRegisters(image([0: 0x0f01_07ff, 4: 0x0340_0020, 8: 0x0001_0400])))
    let capabilities = registers.capabilities
    #expect(capabilities.queueEntries == 2048)
    #expect(capabilities.needsContiguousQueues)
    #expect(capabilities.timeout == .milliseconds(7500))
    #expect(capabilities.doorbellStride == 4)
    #expect(capabilities.hasNVMCommands)
    #expect(capabilities.smallestPage == .kibibytes(4))
    #expect(capabilities.largestPage == .kibibytes(64))
    #expect(capabilities.hasControllerMemoryBuffer && capabilities.hasPersistentMemoryRegion)
    #expect(registers.version.description == "1.4")
    #expect(NVMeVersion(rawValue: 0x0001_0201).description == "1.2.1")
  }

  @Test func `registers that are not announced are not believed`() throws {
    let junk = image([
      0x38: 2, 0x3c: 0x101f, 0x50: .max, 0x58: .max, 0xe00: .max, 0xe04: .max, 0xe08: .max,
    ])
    let registers = try #require(NVMeRegisters(junk))
    // Before 1.4 these two need no announcement.
    #expect(registers.bufferLocation == 2 && registers.bufferSize == 0x101f)
    #expect(registers.bufferControl == nil && registers.bufferStatus == nil)
    #expect(registers.persistentRegion == nil)
  }

  @Test func `control registers are taken from both halves`() throws {
    let registers = try #require(
      NVMeRegisters(
        image([
          4: 1 << 25 | 1 << 24, 0x50: 0x1003, 0x54: 8, 0x58: 1, 0xe04: 1, 0xe14: 0x2002, 0xe18: 9,
        ])))
    #expect(registers.bufferControl?.isEnabled == true)
    #expect(registers.bufferControl?.base == BusAddress(0x8_0000_1000))
    #expect(registers.bufferStatus?.isBaseInvalid == true)
    #expect(registers.persistentRegion?.isEnabled == true)
    #expect(registers.persistentRegion?.control.base == BusAddress(0x9_0000_2000))
  }

  @Test func `all-ones are no answer`() throws {
    let registers = try #require(NVMeRegisters([UInt8](repeating: 0xff, count: 4096)))
    #expect(!registers.capabilities.isAnswer && !registers.status.isAnswer)
  }
}
