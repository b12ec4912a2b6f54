package import GenPool
package import PCIDevices

/// A BAR of an emulated device: a sparse file, and what the registers say about it.
package struct EmulatedBAR: Hashable, Sendable {
  /// Which one; a 64-bit BAR takes up the next number too.
  package var index: BAR.Index
  /// What it decodes.
  package var kind: BAR.Kind
  /// How long it is: a power of two.
  package var size: ByteCount
  package var isPrefetchable: Bool
  package var is64Bit: Bool
  /// Whether the firmware found a place for it.
  package var isAssigned: Bool
  /// What its first bytes hold; the rest is zero.
  package var contents: [UInt8]

  package init(
    index: BAR.Index, kind: BAR.Kind = .memory, size: ByteCount, isPrefetchable: Bool = false,
    is64Bit: Bool = false, isAssigned: Bool = true, contents: [UInt8] = []
  ) {
    self.index = index
    self.kind = kind
    self.size = size
    self.isPrefetchable = isPrefetchable
    self.is64Bit = is64Bit
    self.isAssigned = isAssigned
    self.contents = contents
  }

  /// The low bits of its register, which say what it is. PCI 3.0 section 6.2.5.1.
  var registerFlags: UInt32 {
    switch kind {
    case .io: 0x1
    case .memory: (is64Bit ? 0x4 : 0) | (isPrefetchable ? 0x8 : 0)
    }
  }

  /// The third column of its row in `resource`.
  var resourceFlags: UInt64 {
    var flags: ResourceTable.Flags = [kind == .io ? .io : .memory, .sizeAligned]
    if isPrefetchable { flags.insert(.prefetch) }
    if is64Bit { flags.insert(.memory64) }
    if !isAssigned { flags.insert(.unset) }
    // The kernel keeps the register's own bits in the lowest byte.
    return flags.rawValue | UInt64(registerFlags)
  }
}
