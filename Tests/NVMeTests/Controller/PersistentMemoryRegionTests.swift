import DeviceDMA
import DeviceFixtures
import GenPool
import NVMe
import PCIDevices
import Testing

/// PMRCAP and its neighbours.
@Suite struct PersistentMemoryRegionTests {
  private let bars: [BAR]

  init() throws {
    bars = try memoryBARs([4: .mebibytes(16)])
  }

  @Test func `a region is all of its BAR`() throws {
    let memory = try ControllerMemory(regionCapabilities: 4 << 5 | 1 << 4 | 1 << 3, in: bars)
    #expect(memory.kind == .persistentRegion)
    #expect(memory.bar == 4)
    #expect(memory.offset == .zero)
    #expect(memory.size == .mebibytes(16))
    #expect(memory.uses == [.readData, .writeData])
  }

  @Test func `the capabilities' other bits are not taken for uses`() throws {
    let capabilities = try PMRCapabilities(rawValue: 4 << 5 | 0x7 | 1 << 24 | 3 << 10)
    #expect(capabilities.uses.isEmpty)
    #expect(capabilities.hasMemorySpace)
    #expect(capabilities.barriers == [.memoryRead, .statusRead])
  }

  @Test(arguments: [0, 1, 10, 255] as [UInt32])
  func `the time to be ready counts in half seconds or minutes`(_ count: UInt32) throws {
    #expect(
      try PMRCapabilities(rawValue: count << 16 | 4 << 5).timeout
        == .milliseconds(500 * Int(count)))
    #expect(
      try PMRCapabilities(rawValue: count << 16 | 1 << 8 | 4 << 5).timeout
        == .seconds(60 * Int(count)))
    for unit in [2, 3] as [UInt32] {
      let error = #expect(throws: RegisterProblem.self) {
        try PMRCapabilities(rawValue: count << 16 | unit << 8 | 4 << 5)
      }
      #expect(error?.problem == "PMRTU \(unit) is reserved")
    }
  }

  @Test func `BIRs that are reserved, and BARs that are not there, are errors`() {
    for number in [1, 6, 7] as [UInt32] {
      #expect(throws: ControllerMemoryError.self) {
        try ControllerMemory(regionCapabilities: number << 5, in: bars)
      }
    }
    #expect(throws: ControllerMemoryError.noBAR(.persistentRegion, 2)) {
      try ControllerMemory(regionCapabilities: 2 << 5, in: bars)
    }
  }

  @Test func `buffer and throughput count in bytes, KiB, MiB or GiB`() throws {
    let units: [ByteCount] = [1, .kibibytes(1), .mebibytes(1), .gibibytes(1)]
    for (exponent, unit) in units.enumerated() {
      for count in [0, 1, 0xff_ffff] as [UInt32] {
        let raw = count << 8 | UInt32(exponent)
        #expect(try PMRElasticity(rawValue: raw).size == unit * UInt64(count))
        #expect(try PMRThroughput(rawValue: raw).bytesPerSecond == unit * UInt64(count))
      }
    }
    for unit in 4..<16 as Range<UInt32> {
      #expect(throws: RegisterProblem.self) { try PMRElasticity(rawValue: unit) }
      #expect(throws: RegisterProblem.self) { try PMRThroughput(rawValue: unit) }
    }
    #expect(try PMRElasticity(rawValue: 0x10).readsBypass)
  }

  @Test func `the status tells readiness, health and a vendor's error`() {
    let good = PMRStatus(rawValue: 0)
    #expect(good.isReady && good.health == .normal && good.error == 0 && !good.isBaseInvalid)
    let bad = PMRStatus(rawValue: 1 << 12 | 3 << 9 | 1 << 8 | 0x42)
    #expect(!bad.isReady && bad.health == .unreliable && bad.error == 0x42 && bad.isBaseInvalid)
    for number in 4...7 as ClosedRange<UInt32> {
      #expect(PMRStatus(rawValue: number << 9).health == .reserved)
    }
  }
}
