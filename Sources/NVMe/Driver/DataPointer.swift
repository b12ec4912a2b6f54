import DeviceDMA
import DeviceMemory
import GenPool

/// Where a command's data is: two PRP entries, the second of which may lead to a list of more
/// (NVMe 1.4 section 4.3).
struct DataPointer {
  /// PRP1 and PRP2.
  let first: UInt64, second: UInt64

  /// The page of the controller's that entries point to: CC.MPS 0.
  static let page: ByteCount = .kibibytes(4)
  /// The most pages that one command can name here: one in itself, the others in one page of list.
  static let mostPages = 1 + Int(page.rawValue / 8)

  /// Points to one page.
  init(page: DMAAddress) {
    first = page.rawValue
    second = 0
  }

  /// Points to `pages`, which start at multiples of the page size. From three pages on, all but the
  /// first are written into `list`, a page that the controller reads at its address.
  init(
    _ pages: [DMAAddress], list: (buffer: DMABuffer, address: DMAAddress)?
  ) throws(NVMeError) {
    guard let first = pages.first, pages.count <= Self.mostPages else {
      throw .unsupported("a transfer of \(pages.count) pages; 1 to \(Self.mostPages) are possible")
    }
    if let page = pages.first(where: { $0.rawValue % Self.page.rawValue != 0 }) {
      throw .unsupported("data at \(page), which is no multiple of \(Self.page)")
    }
    self.first = first.rawValue
    guard pages.count > 2 else {
      second = pages.count == 2 ? pages[1].rawValue : 0
      return
    }
    guard let list else { throw .unsupported("\(pages.count) pages without a list") }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(8 * pages.count)
    for page in pages.dropFirst() {
      for shift in stride(from: UInt64(0), to: 64, by: 8) {
        bytes.append(UInt8(truncatingIfNeeded: page.rawValue >> shift))
      }
    }
    try list.buffer.guarded { buffer throws(DeviceFault) in try buffer.write(bytes) }
    second = list.address.rawValue
  }
}
