import CGenPool
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import NVMe
import PCIDevices
import Synchronization

/// A `struct genpool_region` of C: memory of a device that is open and mapped, until the handle is
/// closed.
final class RegionHandle: Sendable {
  let start: VirtualAddress
  let size: ByteCount
  let physical: PhysicalAddress?
  let bus: BusAddress?
  let caching: Caching
  let source: MemorySource?
  /// A controller's registers are no memory to allocate from.
  let isRegisters: Bool
  /// Whose it is, and what that device can keep in it.
  let traits: ChunkTraits

  /// Who opened it. A forked child has neither the mapping nor any business with the device.
  private let process = getpid()
  /// Of how many pools it is a chunk.
  private let uses = Atomic<Int>(0)
  /// What has it mapped and open.
  private let keeper: any AnyObject & Sendable

  /// What a pool keeps instead of the region, so that it can be told whether there are pools.
  private final class Use: Sendable {
    private let region: RegionHandle

    init(_ region: RegionHandle) {
      self.region = region
      region.uses.add(1, ordering: .relaxed)
    }

    deinit { region.uses.subtract(1, ordering: .relaxed) }
  }

  init(
    mapping range: consuming DeviceRange, _ traits: ChunkTraits, isRegisters: Bool
  ) throws(SystemError) {
    let shared = SharedRegion(try Region(mapping: range))
    start = shared.region.mapping.start
    size = shared.region.mapping.size
    physical = shared.region.range.physical
    bus = shared.region.range.bus
    caching = shared.region.range.caching
    source = shared.region.range.source
    self.isRegisters = isRegisters
    self.traits = traits
    keeper = shared
  }

  /// The registers of a controller, which its other regions use as well.
  init(registersOf controller: NVMeController) {
    start = controller.registers.mapping.start
    size = controller.registers.mapping.size
    physical = controller.registers.range.physical
    bus = controller.registers.range.bus
    caching = controller.registers.range.caching
    source = controller.registers.range.source
    isRegisters = true
    traits = ChunkTraits()
    keeper = controller
  }

  /// Whether this process opened it, not a parent.
  var isOurs: Bool { process == getpid() }

  /// Of how many pools it is a chunk: a snapshot.
  var chunkCount: Int { uses.load(ordering: .relaxed) }

  /// Makes it a chunk of `pool`, which keeps it until it is destroyed.
  func add(to pool: Pool, owner: Owner?) throws(PoolError) {
    // SAFETY: the use keeps this, and this the mapping.
    try unsafe pool.add(
      mapped: start, size: size, physical: physical, bus: bus, owner: owner, traits: traits,
      backing: Use(self))
  }

  /// The object that a handle of C stands for.
  // SAFETY: genpool_region_open makes them, with a reference that genpool_region_close takes back.
  static func at(_ pointer: OpaquePointer) -> RegionHandle {
    unsafe Unmanaged<RegionHandle>.fromOpaque(UnsafeRawPointer(pointer)).takeUnretainedValue()
  }
}
