import GenPool
import LinuxSystem
import PCIDevices

extension EmulatedDevice {
  /// Throws unless a real device could be so.
  /// - Parameter name: what the error calls it.
  func check(as name: String) throws(EmulationError) {
    func invalid(_ problem: String) -> EmulationError {
      .invalid(subject: quoted(name), problem: problem)
    }
    let page = ByteCount(pageSize)
    var registers: Set<Int> = []
    for bar in bars {
      // PCI 3.0 section 6.2.5.1: the size of a BAR is how many low bits it hard-wires to zero.
      guard bar.size.isPowerOfTwo else {
        throw invalid("BAR \(bar.index) of \(bar.size): a size must be a power of two")
      }
      // The limit of a file's length.
      guard Int64(exactly: bar.size.rawValue) != nil else {
        throw invalid("BAR \(bar.index) of \(bar.size): a size is at most \(Int64.max) bytes")
      }
      guard !bar.isPrefetchable || bar.size >= page else {
        throw invalid("BAR \(bar.index) of \(bar.size): memory must have at least \(page)")
      }
      guard UInt64(bar.contents.count) <= bar.size.rawValue else {
        throw invalid("BAR \(bar.index) of \(bar.size) is too small for its contents")
      }
      for register in bar.index.rawValue...(bar.index.rawValue + (bar.is64Bit ? 1 : 0)) {
        guard registers.insert(register).inserted, register < 6 else {
          throw invalid("BAR \(bar.index) needs register \(register), which it cannot have")
        }
      }
      guard bar.kind == .memory && bar.is64Bit else { continue }
      guard ByteCount(busOffset.rawValue.magnitude).isMultiple(of: bar.size) else {
        throw invalid(
          "a bus offset of \(busOffset) would leave BAR \(bar.index) (\(bar.size)) unaligned")
      }
    }
  }
}
