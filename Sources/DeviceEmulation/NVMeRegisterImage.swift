package import GenPool
package import PCIDevices

/// The registers of an idle NVMe controller, as they lie at the start of its BAR 0.
///
/// A file cannot answer a write, so the controller memory buffer is announced as NVMe 1.2 and 1.3 did
/// it: CMBLOC and CMBSZ always read. CAP.CMBS, which 1.4 added, is set as well; a driver that goes by
/// it writes CMBMSC, loses nothing, and finds the same two registers. For the same reason a persistent
/// memory region is enabled and ready from the start.
package struct NVMeRegisterImage: Sendable {
  /// The size of BAR 0: registers, doorbells, MSI-X table. QEMU's.
  package static let size: ByteCount = .kibibytes(16)

  /// The registers up to the doorbells (offset 1000h).
  package private(set) var bytes = [UInt8](repeating: 0, count: 0x1000)

  /// A controller whose buffer, if any, fills the BAR `buffer`, and whose persistent memory region, if any,
  /// is the BAR `region`.
  package init(
    memory: ByteCount?, in buffer: BAR.Index, persistentRegion region: BAR.Index? = nil
  ) throws(EmulationError) {
    // CAP (NVMe 1.3 section 3.1.1): 2048 entries a queue (MQES, from 0), contiguous queues (CQR),
    // ready within 7.5 s (TO, 500 ms units), the NVM command set (CSS), pages of 4 KiB to 64 KiB
    // (MPSMIN 0, MPSMAX 4).
    var capabilities: UInt64 = 2047 | 1 << 16 | 15 << 24 | 1 << 37 | 4 << 52
    if let memory {
      capabilities |= 1 << 57  // CMBS, NVMe 1.4 section 3.1.1
      store(0x38, UInt32(buffer.rawValue))  // CMBLOC (1.3 section 3.1.11): BIR; OFST 0
      store(0x3c, try Self.bufferSize(memory))
    }
    if let region {
      capabilities |= 1 << 56  // PMRS
      // PMRCAP (1.4 section 3.1.23): read and write data, BIR, a read of the region as barrier (PMRWBM
      // 0001b), ready at once (PMRTO 0), a base address for the controller (CMSS).
      store(0xe00, 1 << 3 | 1 << 4 | UInt32(region.rawValue) << 5 | 1 << 10 | 1 << 24)
      store(0xe04, 1)  // PMRCTL: enabled
      store(0xe08, 0)  // PMRSTS: ready, healthy
    }
    store(0x00, UInt32(truncatingIfNeeded: capabilities))
    store(0x04, UInt32(truncatingIfNeeded: capabilities >> 32))
    // VS (section 3.1.2): 1.3, or 1.4 for PMR.
    store(0x08, region == nil ? 0x0001_0300 : 0x0001_0400)
    store(0x14, 0)  // CC (section 3.1.5): not enabled
    store(0x1c, 0)  // CSTS (section 3.1.6): not ready, no fault
  }

  /// CMBSZ (NVMe 1.3 section 3.1.12) for `memory` bytes. Submission queues (bit 0), PRP and SGL lists
  /// (2), read (3) and write data (4) may lie there; completion queues may not, as in QEMU.
  private static func bufferSize(_ memory: ByteCount) throws(EmulationError) -> UInt32 {
    // Units of 4 KiB, 64 KiB, … 64 GiB (SZU 0-6), of which SZ counts up to 2^20 - 1. In MiB (SZU 2) if
    // that will do, as QEMU does.
    for unit in [2, 1, 0, 3, 4, 5, 6] as [UInt64] {
      let bytes = ByteCount.kibibytes(4 << (4 * unit))
      let count = memory.rawValue / bytes.rawValue
      guard memory.isMultiple(of: bytes), 1..<(1 << 20) ~= count else { continue }
      return UInt32(count << 12 | unit << 8 | 0x1d)
    }
    throw .invalid(
      subject: "a controller memory buffer of \(memory)",
      problem: "CMBSZ has no unit for that; take a power of two from 4 KiB on")
  }

  /// Writes a 32-bit register: little-endian, as all of PCI.
  private mutating func store(_ offset: Int, _ value: UInt32) {
    for byte in 0..<4 {
      bytes[offset + byte] = UInt8(truncatingIfNeeded: value >> (8 * UInt32(byte)))
    }
  }
}
