import GenPool
import PCIDevices
import Testing

@Suite struct ConfigSpaceTests {
  private var bytes = [UInt8](repeating: 0, count: 64)

  /// The header with its BAR registers and type.
  private func header(type: UInt8 = 0, _ registers: UInt32...) throws -> ConfigSpace {
    var bytes = bytes
    bytes[0x0e] = type
    for (index, register) in registers.enumerated() {
      for byte in 0..<4 {
        bytes[0x10 + 4 * index + byte] = UInt8(truncatingIfNeeded: register >> UInt32(8 * byte))
      }
    }
    return try #require(ConfigSpace(bytes))
  }

  @Test func `fewer than 64 bytes are no header`() {
    #expect(ConfigSpace([UInt8](repeating: 0, count: 63)) == nil)
    #expect(ConfigSpace([]) == nil)
  }

  @Test func `a 64-bit BAR takes its upper half from the next register`() throws {
    let register = try #require(header(0xfe00_000c, 0x80)[0])
    #expect(register.bus == BusAddress(0x80_fe00_0000))
    #expect(register.is64Bit && register.isPrefetchable && !register.isIO)
  }

  @Test func `a 32-bit BAR stands alone`() throws {
    let register = try #require(header(0, 0xfebf_0000, 0x80)[1])
    #expect(register.bus == BusAddress(0xfebf_0000))
    #expect(!register.is64Bit && !register.isPrefetchable && !register.isIO)
  }

  @Test func `an I/O BAR is told from memory`() throws {
    let register = try #require(header(0x0000_c001)[0])
    #expect(register.isIO && register.bus == BusAddress(0xc000))
  }

  @Test func `0 is an address`() throws {
    #expect(try header(0x0000_000c, 0)[0]?.bus == BusAddress(0))
    #expect(try header(0x0000_0001)[0]?.isIO == true)
  }

  @Test func `a 64-bit BAR in the last register has no upper half`() throws {
    #expect(try header(0, 0, 0, 0, 0, 0xfe00_0004)[5] == nil)
  }

  @Test func `a bridge has two BARs and a CardBus bridge one`() throws {
    let all: [UInt32] = [0x1000_0000, 0x2000_0000, 0x3000_0000]
    #expect(try header(type: 0x81, all[0], all[1], all[2])[1] != nil)
    #expect(try header(type: 0x81, all[0], all[1], all[2])[2] == nil)
    #expect(try header(type: 2, all[0], all[1], all[2])[1] == nil)
    #expect(try header(type: 0x7f, all[0], all[1], all[2])[0] == nil)
  }
}
