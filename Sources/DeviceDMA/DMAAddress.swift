public import GenPool

/// The number that one device puts on the bus to reach a byte of memory.
///
/// Which space it belongs to depends on what stands between the device and the memory: nothing (or
/// an IOMMU that passes everything through), then it is a bus address; a translating IOMMU, then it
/// means something to that device's container alone. Whoever writes it into a command or a
/// descriptor list takes ``rawValue``; there is no way from a physical address to here.
public enum DMAAddress: Hashable, Sendable {
  /// Not translated.
  case bus(BusAddress)
  /// Translated by the initiator's IOMMU domain.
  case iova(IOVA)

  /// What the device is told, in bytes.
  public var rawValue: UInt64 {
    switch self {
    case .bus(let address): address.rawValue
    case .iova(let address): address.rawValue
    }
  }

  /// The address `offset` bytes higher, or nil past 2^64 − 1.
  public func advanced(by offset: ByteCount) -> Self? {
    switch self {
    case .bus(let address): address.advanced(by: offset).map(Self.bus)
    case .iova(let address): address.advanced(by: offset).map(Self.iova)
    }
  }
}

extension DMAAddress: CustomStringConvertible {
  /// `bus 0x0000008004000000` or `iova 0x0000000000100000`.
  public var description: String {
    switch self {
    case .bus(let address): "bus \(address)"
    case .iova(let address): "iova \(address)"
    }
  }
}
