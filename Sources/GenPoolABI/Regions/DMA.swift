public import CGenPool
import DeviceDMA
import DeviceOpener
import DeviceSources
import GenPool
import Glibc
import LinuxSystem
import PCIDevices
import SystemPackage

/// A `struct genpool_initiator` of C: a device that does DMA, and who opened it.
private final class InitiatorHandle: Sendable {
  let initiator: Initiator
  let source: any BARSource
  /// The process that made it. What a child did to the device would happen to its parent's.
  private let process = getpid()

  init(_ device: PCIAddress, of source: any BARSource) throws(DMAError) {
    initiator = try source.initiator(at: device)
    self.source = source
  }

  /// Whether this process made it; if not, the error's text says so.
  func isOurs(to operation: String) -> Bool {
    guard process != getpid() else { return true }
    ErrorText.set("\(operation): the parent process has the initiator, not its child")
    return false
  }

  // SAFETY: genpool_initiator_get makes them, with a reference that genpool_initiator_put takes back.
  static func at(_ pointer: OpaquePointer) -> InitiatorHandle {
    unsafe Unmanaged<InitiatorHandle>.fromOpaque(UnsafeRawPointer(pointer)).takeUnretainedValue()
  }
}

/// A `struct genpool_dma_mapping` of C: a mapping, and the process that made it.
private final class MappingHandle: Sendable {
  let process = getpid()
  private let mapping: DMAMapping

  init(_ mapping: DMAMapping) {
    self.mapping = mapping
  }
}

@c @implementation
public func genpool_initiator_get(
  _ sysfs_root: UnsafePointer<CChar>?, _ device: UnsafePointer<CChar>, _ source: UInt32,
  _ initiator: UnsafeMutablePointer<OpaquePointer?>?
) -> CInt {
  let name = unsafe String(cString: device)
  guard let initiator = unsafe initiator, let address = PCIAddress(name) else {
    ErrorText.set("find the initiator \(name): that is no PCI address, as 0000:01:00.0 is one")
    return -EINVAL
  }
  do {
    let opener = unsafe Openers.opener(of: sysfsRoot(sysfs_root))
    let handle = try InitiatorHandle(address, of: opener.source(memorySource(source)))
    unsafe initiator.pointee = OpaquePointer(Unmanaged.passRetained(handle).toOpaque())
    return 0
  } catch let error as any ErrnoError {
    ErrorText.set(error.description)
    return -error.errno.rawValue
  } catch {
    preconditionFailure("an error without an errno: \(error)")
  }
}

@c @implementation
public func genpool_initiator_enable(_ initiator: OpaquePointer) -> CInt {
  let handle = unsafe InitiatorHandle.at(initiator)
  guard handle.isOurs(to: "enable DMA") else { return -EPERM }
  do {
    try handle.source.enableBusMastering(of: handle.initiator.device)
    return 0
  } catch {
    ErrorText.set(error)
    return -error.errno.rawValue
  }
}

@c @implementation
public func genpool_initiator_put(_ initiator: OpaquePointer?) {
  guard let initiator = unsafe initiator,
    unsafe InitiatorHandle.at(initiator).isOurs(to: "put an initiator")
  else { return }
  unsafe Unmanaged<InitiatorHandle>.fromOpaque(UnsafeRawPointer(initiator)).release()
}

@c @implementation
public func genpool_dma_map(
  _ initiator: OpaquePointer, _ pool: UnsafeMutablePointer<gen_pool>, _ addr: UInt, _ size: Int,
  _ address: UnsafeMutablePointer<UInt64>, _ mapping: UnsafeMutablePointer<OpaquePointer?>?
) -> CInt {
  guard unsafe InitiatorHandle.at(initiator).isOurs(to: "map for DMA") else { return -EPERM }
  let pool = unsafe PoolHandle(pool).pool
  let start = VirtualAddress(UInt64(addr)), bytes = ByteCount(UInt64(UInt(bitPattern: size)))
  guard let mapping = unsafe mapping, bytes > .zero, pool.contains(start, size: bytes) else {
    ErrorText.set("map \(bytes) at \(start) for DMA: the pool has no such memory")
    return -EINVAL
  }
  // SAFETY: a region is kept by its chunk; other memory was added by a caller, who answers for it.
  let memory = unsafe DMAMemory(
    start: start, size: bytes, bus: pool.busAddress(of: start), label: "\(bytes) at \(start)",
    keeper: pool.backing(of: start) ?? pool)
  do {
    let made = try unsafe dmaAddress(of: memory, for: InitiatorHandle.at(initiator).initiator)
    unsafe address.pointee = made.address.rawValue
    unsafe mapping.pointee = OpaquePointer(Unmanaged.passRetained(MappingHandle(made)).toOpaque())
    return 0
  } catch {
    ErrorText.set(error)
    return -error.errno.rawValue
  }
}

@c @implementation
public func genpool_dma_unmap(_ mapping: OpaquePointer?) {
  guard let mapping = unsafe mapping else { return }
  let handle = unsafe Unmanaged<MappingHandle>.fromOpaque(UnsafeRawPointer(mapping))
  // Else it would end in the IOMMU, for the parent.
  guard unsafe handle.takeUnretainedValue().process == getpid() else { return }
  unsafe handle.release()
}
