public import GenPool
public import LinuxSystem

/// How the CPU treats accesses to device memory: decided when the descriptor is opened.
public enum Caching: String, Hashable, Sendable, CaseIterable {
  /// Every access reaches the device, in order. The default of a BAR.
  case uncached = "uncached"
  /// Stores gather in the CPU until a fence; loads are uncached. Prefetchable BARs
  /// (`resourceN_wc`).
  case writeCombining = "write-combining"
  /// Ordinary memory: emulated devices.
  case cached = "cached"
}

/// What keeps the holders of one device's memory apart.
public enum Isolation: String, Hashable, Sendable, CaseIterable {
  /// The descriptor maps this range and nothing else.
  case range = "range"
  /// The descriptor maps more, but only one user's processes hold any.
  case uidExclusive = "uid-exclusive"
  /// The descriptor maps more; the holders trust each other.
  case cooperative = "cooperative"
}

/// By what interface of the kernel's device memory was opened, which decides what its descriptor
/// reaches and what happens when the device is removed.
public enum MemorySource: String, Hashable, Sendable, CaseIterable {
  /// `resourceN`. A descriptor reaches the whole BAR.
  case sysfs = "sysfs"
  /// A VFIO device. A descriptor reaches the whole device, its configuration space too.
  case vfio = "vfio"

  /// What removal does to whoever holds the memory, in one word.
  public var removal: Removal {
    switch self {
    case .sysfs: .unnoticed
    case .vfio: .waits
    }
  }

  /// What happens when a device is pulled out while its memory is mapped.
  public enum Removal: String, Hashable, Sendable, CaseIterable {
    /// Nothing: mappings stay, and lead to whatever is plugged in at the address next.
    case unnoticed = "unnoticed"
    /// It waits until every descriptor and mapping is gone, in all processes, and then is complete.
    case waits = "waits"
  }
}

/// An open piece of a device's memory: a descriptor, and where its bytes are.
///
/// Opens nothing and maps nothing; ``Region`` maps it.
public struct DeviceRange: ~Copyable, Sendable {
  // Destroyed in this order: the descriptor is closed before the attachment undoes the opening.

  /// What is mapped. Must be open for reading and writing.
  public let descriptor: Descriptor
  /// Where the range starts in the descriptor, in bytes; any value, page-aligned or not.
  public let mapOffset: ByteCount
  /// How long the range is, in bytes; any value but 0.
  public let size: ByteCount
  /// Where the range starts for the CPU; nil when nobody knows. Equals ``mapOffset`` modulo the
  /// page size, as BARs smaller than a page show.
  public let physical: PhysicalAddress?
  /// Where the range starts for other devices; nil when nobody knows.
  public let bus: BusAddress?
  /// How the CPU treats accesses.
  public let caching: Caching
  /// What keeps other holders out.
  public let isolation: Isolation
  /// How it was opened; nil when nobody says, as for memory that is no device's.
  public let source: MemorySource?
  /// What errors call it: `BAR 2 of 0000:01:00.0`.
  public let label: String
  /// Opens it for other processes; nil when all have to share ``descriptor``.
  public let lender: (any DescriptorLender)?
  /// The kernel's means to tell whether memory that was handed out is still reached.
  public let witness: Witness
  /// The kernel's answer when the range was opened: whether anything that was handed out before
  /// still reached it. ``WitnessAnswer/reached`` only where the source had other memory of the BAR
  /// open already: else that fails to open.
  public let witnessAtOpening: WitnessAnswer
  /// Lives as long as the range; its `deinit` undoes the opening (a lock, COMMAND bits).
  public let attachment: (any AnyObject & Sendable)?

  /// A range of an open descriptor. Checks nothing: mapping does.
  public init(
    descriptor: consuming Descriptor, mapOffset: ByteCount, size: ByteCount,
    physical: PhysicalAddress?, bus: BusAddress?, caching: Caching, isolation: Isolation,
    source: MemorySource? = nil, label: String, lender: (any DescriptorLender)? = nil,
    witness: Witness = .none, witnessAtOpening: WitnessAnswer = .unknown,
    attachment: (any AnyObject & Sendable)? = nil
  ) {
    self.descriptor = descriptor
    self.mapOffset = mapOffset
    self.size = size
    self.physical = physical
    self.bus = bus
    self.caching = caching
    self.isolation = isolation
    self.source = source
    self.label = label
    self.lender = lender
    self.witness = witness
    self.witnessAtOpening = witnessAtOpening
    self.attachment = attachment
  }

  /// The same range under another name, which ends before `user` does and keeps it alive until
  /// then: somebody who has more to undo than the opening.
  public consuming func used(
    by user: any AnyObject & Sendable, as label: String
  ) -> DeviceRange {
    let opening = attachment
    return DeviceRange(
      descriptor: descriptor, mapOffset: mapOffset, size: size, physical: physical, bus: bus,
      caching: caching, isolation: isolation, source: source, label: label, lender: lender,
      witness: witness, witnessAtOpening: witnessAtOpening,
      attachment: Both(first: user, second: opening))
  }
}

/// Two attachments as one. The first is let go of first.
private final class Both: Sendable {
  let first: (any AnyObject & Sendable)?
  let second: (any AnyObject & Sendable)?

  init(first: (any AnyObject & Sendable)?, second: (any AnyObject & Sendable)?) {
    self.first = first
    self.second = second
  }
}
