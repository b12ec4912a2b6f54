import DeviceDMA
import DeviceFixtures
import GenPool
import NVMe
import PCIDevices
import Testing

/// CMBLOC and CMBSZ: every unit, every place in a BAR.
@Suite struct ControllerMemoryBufferTests {
  private func location(_ bar: UInt32, offset: UInt32) -> UInt32 { offset << 12 | bar }

  private func size(_ unit: UInt32, _ count: UInt32, uses: UInt32 = 0x1f) -> UInt32 {
    count << 12 | unit << 8 | uses
  }

  /// 4 KiB, 64 KiB, 1 MiB, 16 MiB, 256 MiB, 4 GiB, 64 GiB: written out, not computed as the code does.
  private let units: [ByteCount] = [
    .kibibytes(4), .kibibytes(64), .mebibytes(1), .mebibytes(16), .mebibytes(256), .gibibytes(4),
    .gibibytes(64),
  ]

  @Test func `QEMU's 64 MiB are found, with what they are for`() throws {
    let memory = try ControllerMemory(
      bufferLocation: 0x62, bufferSize: 0x4021d, in: memoryBARs([2: .mebibytes(64)]))
    #expect(memory.kind == .buffer)
    #expect(memory.bar == 2)
    #expect(memory.offset == .zero)
    #expect(memory.size == .mebibytes(64))
    #expect(memory.uses == [.submissionQueues, .lists, .readData, .writeData])
    #expect(memory.rules == [.mixedLists, .listsApartFromCommand])
  }

  /// NVMe 1.4 section 3.1.11: the bits' abbreviations.
  @Test(
    arguments: zip(
      3...8 as ClosedRange<UInt32>, ["CQMMS", "CQPDS", "CDPMLS", "CDPCILS", "CDMMMS", "CQDA"]))
  func `each of CMBLOC's bits is told by its name`(_ bit: UInt32, _ name: String) throws {
    let words = try CMBLocation(rawValue: 1 << bit | 2).rules.words
    #expect(words.count == 1 && words.first?.hasSuffix("(\(name))") == true)
    #expect(try CMBLocation(rawValue: ~(1 << bit) & ~7 | 2).rules.words.count == 5)
  }

  @Test func `reserved bits of CMBLOC are no rules`() throws {
    #expect(try CMBLocation(rawValue: 0xffff_fe02).rules == [])
  }

  @Test func `every unit with every count of one bit, and both ends, gives their product`() throws {
    for (exponent, unit) in units.enumerated() {
      let counts = (0..<20).map { UInt32(1) << $0 } + [3, 0xf_fffe, 0xf_ffff]
      for count in counts {
        let decoded = try CMBSize(rawValue: size(UInt32(exponent), count))
        #expect(decoded.unit == unit)
        #expect(decoded.count == count)
        let (product, overflow) = unit.rawValue.multipliedReportingOverflow(by: UInt64(count))
        #expect(!overflow)
        #expect(decoded.size.rawValue == product)
      }
    }
  }

  @Test(arguments: UInt32(7)...15) func `a reserved unit is an error that names it`(_ unit: UInt32)
    throws
  {
    let error = try #require(throws: ControllerMemoryError.self) {
      try ControllerMemory(
        bufferLocation: 2, bufferSize: size(unit, 1), in: memoryBARs([2: .mebibytes(1)]))
    }
    #expect(error.description.contains("CMBSZ"))
    #expect(error.description.contains("SZU \(unit) is reserved"))
  }

  @Test func `the offset counts in the size's unit, not in pages`() throws {
    for (exponent, unit) in units.enumerated() {
      for offset in [1, 2, 3, 0xf_ffff] as [UInt32] {
        let bar = unit * (UInt64(offset) + 1)
        let memory = try ControllerMemory(
          bufferLocation: location(4, offset: offset), bufferSize: size(UInt32(exponent), 1),
          in: memoryBARs([4: bar]))
        #expect(memory.offset == unit * UInt64(offset))
        #expect(memory.size == unit)
      }
    }
  }

  @Test func `small BARs, all offsets and sizes: the buffer is the part that lies inside`() throws {
    let unit = ByteCount.kibibytes(4)
    for barUnits in 1...8 as ClosedRange<UInt32> {
      for offset in 0...9 as ClosedRange<UInt32> {
        for count in 1...9 as ClosedRange<UInt32> {
          // Unit by unit: which of those announced are in the BAR.
          let inside = (offset..<(offset + count)).filter { $0 < barUnits }
          let memory = Result {
            try ControllerMemory(
              bufferLocation: location(2, offset: offset), bufferSize: size(0, count),
              in: memoryBARs([2: unit * UInt64(barUnits)]))
          }
          guard let first = inside.first else {
            #expect(
              throws: ControllerMemoryError.outside(
                .buffer, offset: unit * UInt64(offset), bar: 2, size: unit * UInt64(barUnits))
            ) { try memory.get() }
            continue
          }
          let found = try memory.get()
          #expect(found.offset == unit * UInt64(first))
          #expect(found.size == unit * UInt64(inside.count))
          #expect(found.announced == unit * UInt64(count))
        }
      }
    }
  }

  @Test func `the largest numbers that fit into the registers overflow nothing`() throws {
    let memory = Result {
      try ControllerMemory(
        bufferLocation: .max & ~7 | 2, bufferSize: 0xffff_f61f, in: memoryBARs([2: .gibibytes(1)]))
    }
    #expect(throws: ControllerMemoryError.self) { try memory.get() }
    let whole = try ControllerMemory(
      bufferLocation: 2, bufferSize: 0xffff_f61f, in: memoryBARs([2: .gibibytes(1)]))
    #expect(whole.size == .gibibytes(1))
    #expect(whole.announced.rawValue == 0xf_ffff * (64 << 30))
  }

  @Test func `only BARs 0 and 2 to 5 can hold it, and only as memory`() throws {
    let all = try memoryBARs([
      0: .mebibytes(1), 2: .mebibytes(1), 3: .mebibytes(1), 4: .mebibytes(1),
    ])
    for bar in 0...7 as ClosedRange<UInt32> {
      let memory = Result {
        try ControllerMemory(bufferLocation: bar, bufferSize: size(0, 1), in: all)
      }
      switch bar {
      case 0, 2, 3, 4: #expect(try memory.get().bar.rawValue == Int(bar))
      case 5: #expect(throws: ControllerMemoryError.noBAR(.buffer, 5)) { try memory.get() }
      default:
        #expect(throws: ControllerMemoryError.self) { try memory.get() }
      }
    }
  }

  @Test func `a size of no units is no buffer, whatever the other bits say`() throws {
    for rest in [0, 0x1f, 0xf1f, 0x61f] as [UInt32] {
      #expect(throws: ControllerMemoryError.absent(.buffer)) {
        try ControllerMemory(
          bufferLocation: 2, bufferSize: rest, in: memoryBARs([2: .mebibytes(1)]))
      }
    }
  }

  @Test func `each of the 32 sets of uses is told as its bits`() throws {
    let names = [
      "submission queues", "completion queues", "PRP and SGL lists", "read data", "write data",
    ]
    for bits in 0..<32 as Range<UInt32> {
      let uses = try CMBSize(rawValue: size(0, 1, uses: bits)).uses
      let expected = names.indices.filter { bits >> UInt32($0) & 1 == 1 }.map { names[$0] }
      #expect(uses.words == expected)
      #expect(uses.description == (expected.isEmpty ? "nothing" : expected.joined(separator: ", ")))
    }
  }

  @Test func `a base address that is no multiple of 4 KiB cannot be written`() {
    #expect(CMBControl.enabled(at: BusAddress(0x1000))?.rawValue == 0x1003)
    #expect(CMBControl.enabled(at: BusAddress(0x1800)) == nil)
    #expect(PMRControl.enabled(at: BusAddress(0x8_0000_1000))?.rawValue == 0x8_0000_1002)
    #expect(PMRControl.enabled(at: BusAddress(1)) == nil)
  }
}
