import DeviceDMA
import GenPool
import NVMe
import PCIDevices

extension FuzzTarget {
  /// The registers of an NVMe controller: the words that tell of it and its memory, in the order of
  /// ``offsets``, and then the sizes of its BARs, a byte each: as many powers of two.
  ///
  /// Memory that is found lies in its BAR, and is as long as its registers say or ends with the BAR; what
  /// is refused is refused with a reason.
  static let controller = FuzzTarget(name: "controller") { bytes in
    var image = [UInt8](repeating: 0, count: 0x1000)
    for (index, offset) in offsets.enumerated() {
      for byte in 0..<4 where 4 * index + byte < bytes.count {
        image[offset + byte] = bytes[4 * index + byte]
      }
    }
    guard let registers = NVMeRegisters(image) else {
      preconditionFailure("4 KiB are registers")
    }
    let bars = bars(Array(bytes.dropFirst(4 * offsets.count)))
    _ = (registers.version.description, registers.status.shutdown, registers.configuration.page)
    let capabilities = registers.capabilities
    precondition(1...65536 ~= capabilities.queueEntries)
    precondition(capabilities.smallestPage.isPowerOfTwo && capabilities.doorbellStride >= 4)
    precondition(capabilities.timeout <= .milliseconds(127_500))
    checkBuffer(registers, bars)
    if let region = registers.persistentRegion { checkRegion(region, bars) }
  }

  /// CAP, VS, CC, CSTS, CMBLOC, CMBSZ, CMBMSC, CMBSTS, PMRCAP, PMRCTL, PMRSTS, PMREBS, PMRSWTP, PMRMSC.
  private static let offsets = [
    0x00, 0x04, 0x08, 0x14, 0x1c, 0x38, 0x3c, 0x50, 0x54, 0x58, 0xe00, 0xe04, 0xe08, 0xe0c, 0xe10,
    0xe14, 0xe18,
  ]

  /// Memory BARs by number, from 4 KiB up; a byte of 0 or 255 is none.
  private static func bars(_ exponents: [UInt8]) -> [BAR] {
    var rows = [String](repeating: "0x0 0x0 0x0", count: 6)
    for (index, exponent) in exponents.prefix(6).enumerated() where 1..<255 ~= exponent {
      let size = UInt64(0x1000) << UInt64(exponent % 40)
      rows[index] = "0x\(String(size, radix: 16)) 0x\(String(2 * size - 1, radix: 16)) 0x14220c"
    }
    let text = Array(rows.joined(separator: "\n").utf8)
    let table = try? ResourceTable(AttributeText(text, at: "resource"))
    let bars = try? table.map { table in
      try BARReading(
        of: table, nil, readAt: "config", hasOwnRegisters: true, windows: { [] },
        hasFile: { _ in false }
      ).bars
    }
    guard let bars else { preconditionFailure("the rows are the kernel's") }
    return bars
  }

  private static func checkBuffer(_ registers: NVMeRegisters, _ bars: [BAR]) {
    do throws(ControllerMemoryError) {
      let memory = try ControllerMemory(
        bufferLocation: registers.bufferLocation, bufferSize: registers.bufferSize, in: bars)
      check(memory, bars)
      // In another way: whole units of 4 KiB << 4n.
      let unit = UInt64(4096) << (4 * UInt64(registers.bufferSize >> 8 & 0xf))
      precondition(memory.announced.rawValue == unit * UInt64(registers.bufferSize >> 12))
      precondition(memory.offset.rawValue == unit * UInt64(registers.bufferLocation >> 12))
      precondition(memory.uses.rawValue == registers.bufferSize & 0x1f)
      precondition(memory.bar.rawValue == Int(registers.bufferLocation & 7))
    } catch {
      precondition(!error.description.isEmpty)
      if case .absent = error { precondition(registers.bufferSize >> 12 == 0) }
    }
  }

  private static func checkRegion(_ region: NVMeRegisters.PersistentRegion, _ bars: [BAR]) {
    _ = (region.status.health, region.status.isReady, region.control.base)
    precondition(
      (try? PMRElasticity(rawValue: region.elasticity)) == nil || region.elasticity & 0xf < 4)
    precondition(
      (try? PMRThroughput(rawValue: region.throughput)) == nil || region.throughput & 0xf < 4)
    do throws(ControllerMemoryError) {
      let memory = try ControllerMemory(regionCapabilities: region.capabilities, in: bars)
      check(memory, bars)
      precondition(memory.offset == .zero && memory.size == memory.announced)
    } catch {
      precondition(!error.description.isEmpty)
    }
  }

  private static func check(_ memory: ControllerMemory, _ bars: [BAR]) {
    guard let bar = bars.first(where: { $0.index == memory.bar }) else {
      preconditionFailure("memory lies in a BAR that there is")
    }
    precondition(memory.size > .zero && memory.offset < bar.size)
    precondition(memory.size <= bar.size - memory.offset, "it ends with its BAR")
    precondition(memory.size <= memory.announced)
    precondition(memory.size == memory.announced || memory.offset + memory.size == bar.size)
    precondition(memory.physical(in: bar) != nil, "it has an address where its BAR has one")
  }
}
