public import GenPool

/// One of a VFIO device's regions, for PCI a BAR: where it is in the device's descriptor, and what of it
/// can be mapped. The kernel's `struct vfio_region_info`.
public struct VFIORegion: Hashable, Sendable {
  /// How long it is, in bytes; 0 where the device has no such region.
  public let size: ByteCount
  /// Where it starts in the device's descriptor. Not computed from its number: that is the kernel's to say.
  public let fileOffset: ByteCount
  /// Whether it can be mapped at all, for loads and stores.
  public let canMap: Bool
  /// The areas of it that can be mapped, in order; all of it, in one area, unless the kernel says
  /// otherwise (`VFIO_REGION_INFO_CAP_SPARSE_MMAP`).
  public let mappable: [Area]

  /// Bytes of a region.
  public struct Area: Hashable, Sendable, CustomStringConvertible {
    /// From the region's start.
    public let offset: ByteCount
    /// At least 1.
    public let size: ByteCount

    package init(offset: ByteCount, size: ByteCount) {
      self.offset = offset
      self.size = size
    }

    /// The offset of the first byte after it.
    var end: ByteCount { offset + size }

    /// `1 MiB from offset 4 MiB`.
    public var description: String { "\(size) from offset \(offset)" }
  }

  /// Reads what the kernel says of a region.
  package init(_ record: VFIORecord) throws(VFIORecord.Problem) {
    let flags = Flags(rawValue: try record.word(at: 4))
    size = ByteCount(try record.doubleWord(at: 16))
    fileOffset = ByteCount(try record.doubleWord(at: 24))
    guard fileOffset.advanced(by: size) != nil else {
      throw VFIORecord.Problem(text: "\(size) from \(fileOffset) pass the end of every file")
    }
    canMap = flags.isSuperset(of: [.read, .write, .map])
    let whole = size > .zero ? [Area(offset: .zero, size: size)] : []
    guard flags.contains(.capabilities) else {
      mappable = canMap ? whole : []
      return
    }
    let chain = try record.capabilities(from: record.word(at: 12))
    let sparse = chain.first { $0.id == Self.sparseMapping }
    let areas = try sparse.map { [size] capability throws(VFIORecord.Problem) in
      try Self.areas(record.pairs(of: capability), in: size)
    }
    mappable = canMap ? areas ?? whole : []
  }

  private static func areas(
    _ pairs: [(first: UInt64, second: UInt64)], in size: ByteCount
  ) throws(VFIORecord.Problem) -> [Area] {
    var areas: [Area] = []
    for pair in pairs where pair.second > 0 {
      let area = Area(offset: ByteCount(pair.first), size: ByteCount(pair.second))
      guard area.offset <= size, area.size <= size - area.offset else {
        throw VFIORecord.Problem(text: "an area of \(area) is past the region's end, at \(size)")
      }
      areas.append(area)
    }
    // Neighbours are one area to whoever maps.
    return areas.sorted { $0.offset < $1.offset }.reduce(into: []) { joined, area in
      if let last = joined.last, area.offset <= last.end {
        let end = max(last.end, area.end)
        joined[joined.count - 1] = Area(offset: last.offset, size: end - last.offset)
      } else {
        joined.append(area)
      }
    }
  }

  /// Why `size` bytes from `offset` on, which lie inside, cannot be mapped; nil when they can.
  package func problem(mapping offset: ByteCount, _ size: ByteCount) -> String? {
    guard canMap else {
      return "vfio-pci does not let it be mapped, only read and written: it shares a page with "
        + "something else, or holds registers that the kernel must see"
    }
    if mappable.contains(where: { $0.offset <= offset && offset + size <= $0.end }) { return nil }
    let list = mappable.map(\.description).joined(separator: ", ")
    return "\(size) from offset \(offset) cannot be mapped; "
      + (list.isEmpty ? "nothing of it can" : "only \(list) can")
  }

  /// `VFIO_REGION_INFO_CAP_SPARSE_MMAP`.
  private static let sparseMapping: UInt16 = 1

  /// `VFIO_REGION_INFO_FLAG_…`.
  private struct Flags: OptionSet {
    let rawValue: UInt32
    static let read = Self(rawValue: 1 << 0)
    static let write = Self(rawValue: 1 << 1)
    static let map = Self(rawValue: 1 << 2)
    static let capabilities = Self(rawValue: 1 << 3)
  }
}

extension ByteCount {
  /// The sum, or nil past 2^63 − 1, where files end.
  fileprivate func advanced(by size: ByteCount) -> ByteCount? {
    let (sum, overflow) = rawValue.addingReportingOverflow(size.rawValue)
    return overflow || sum > UInt64(Int64.max) ? nil : ByteCount(sum)
  }
}
