import BrokerProtocol
import GenPool

extension Broker1.Lease {
  /// A lease as an honest broker grants it: 64 KiB at 1 MiB of a memory of 2 MiB.
  static func honest(size: ByteCount = .kibibytes(64)) -> Self {
    Self(
      lease: LeaseID(rawValue: "0123456789abcdef0123456789abcdef"),
      generation: Generation(rawValue: 7), pool: "cmb", offset: .mebibytes(1), size: size,
      physical: PhysicalAddress(0x80_0010_0000), bus: BusAddress(0x90_0010_0000),
      mapOffset: .mebibytes(1), caching: "cached", isolation: "uid-exclusive",
      uid: UID(rawValue: 1000), pid: PID(rawValue: 4711), state: .leased)
  }

  /// The same with a change.
  func with(_ change: (inout Self) -> Void) -> Self {
    var copy = self
    change(&copy)
    return copy
  }
}

extension Broker1.Pool {
  /// A pool of 64 MiB with a lease of 2 MiB.
  static func example(name: String = "cmb") -> Self {
    Self(
      name: name, device: "0000:01:00.0", bar: 2, offset: .zero, size: .mebibytes(64),
      physical: PhysicalAddress(0x80_0000_0000), bus: nil, numaNode: nil,
      granule: .kibibytes(4), caching: "cached", isolation: "uid-exclusive", state: .active,
      failure: nil, available: .mebibytes(62), dirty: .zero, leased: .mebibytes(2), leases: 1,
      holders: 1, largestFree: .mebibytes(62), exclusiveUid: UID(rawValue: 1000))
  }
}
