/// What a device asks of memory beside its alignment: to be combined with any fit.
///
/// All are about whole granules, and about bus addresses, which are what a device puts on its
/// wires: a chunk that has none meets no constraint on them. Behind an IOMMU a device uses other
/// addresses, which nobody knows yet when memory is allocated.
public struct Constraints: Hashable, Sendable {
  /// No byte at this bus address or above: 4 GiB for a device with 32 address lines. Nil for any.
  /// The kernel's DMA mask, plus one.
  public var below: BusAddress?
  /// No two bytes on either side of a multiple of this: 4 GiB and 64 KiB are what devices cannot
  /// cross. A power of two; a request that is longer finds nothing. Nil for none. The kernel's
  /// `dma_set_seg_boundary`, plus one.
  public var boundary: ByteCount?
  /// Only chunks of this NUMA node. Nil for any.
  public var node: NUMANode?
  /// Only chunks that can be used for all of this: see ``ChunkTraits/uses``.
  public var uses: ChunkUses
  /// The device that will use the memory. Other devices' chunks are not limited in what it uses
  /// them for. Nil when all chunks are.
  public var initiator: DeviceKey?

  public init(
    below: BusAddress? = nil, boundary: ByteCount? = nil, node: NUMANode? = nil,
    uses: ChunkUses = [], initiator: DeviceKey? = nil
  ) {
    self.below = below
    self.boundary = boundary
    self.node = node
    self.uses = uses
    self.initiator = initiator
  }

  /// Whether a chunk is of the kind that is asked for, wherever it is.
  func admits(_ traits: ChunkTraits) -> Bool {
    if let node, traits.node != node { return false }
    if let initiator, traits.device != initiator { return true }
    return uses.isSubset(of: traits.uses)
  }
}

/// What is known of a chunk's memory beside its addresses.
public struct ChunkTraits: Hashable, Sendable {
  /// The NUMA node that it is close to; nil when nobody knows.
  public var node: NUMANode?
  /// The device whose memory it is; nil for memory of the host.
  public var device: DeviceKey?
  /// What that device can use it for.
  public var uses: ChunkUses

  public init(node: NUMANode? = nil, device: DeviceKey? = nil, uses: ChunkUses = .all) {
    self.node = node
    self.device = device
    self.uses = uses
  }
}

/// What memory can be used for, in bits: what they mean is agreed between those who add chunks and
/// those who allocate.
public struct ChunkUses: OptionSet, Hashable, Sendable {
  public let rawValue: UInt32

  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  /// For everything.
  public static let all = Self(rawValue: .max)
}
