public import CGenPool
import DeviceDMA
import DeviceMemory
import DeviceOpener
import GenPool
import Glibc
import LinuxSystem
import NVMe
import PCIDevices
import SystemPackage

/// The request that a `struct genpool_region_options` is.
struct RegionRequest {
  private let root: SysfsRoot
  private let id: DeviceMemoryID
  private let options: OpeningOptions

  init(_ request: genpool_region_options) throws(DeviceError) {
    func text(_ pointer: UnsafePointer<CChar>?) -> String? {
      unsafe pointer.map { unsafe String(cString: $0) }
    }
    // The memory may be named in one text or in two.
    let device = unsafe text(request.device) ?? ""
    let name = unsafe text(request.memory).map { "\(device):\($0)" } ?? device
    guard var id = DeviceMemoryID(name) else {
      throw .invalid(
        subject: "memory \(name)",
        problem: "memory is a device and its BAR, cmb, pmr or registers: 0000:01:00.0:2")
    }
    let (offset, length) = unsafe (ByteCount(request.offset), ByteCount(request.length))
    if offset != .zero || length != .zero {
      guard id.offset == .zero, id.size == nil else {
        throw .invalid(subject: "\(id)", problem: "its part is given twice")
      }
      id.offset = offset
      id.size = length == .zero ? nil : length
    }
    let isUncached = unsafe request.caching == GENPOOL_CACHING_UNCACHED.rawValue
    guard unsafe isUncached || request.caching == GENPOOL_CACHING_DEFAULT.rawValue else {
      throw .invalid(subject: "\(id)", problem: "ask for the default caching, or for none")
    }
    if id.part == .registers, id.offset != .zero || id.size != nil || isUncached {
      throw .invalid(subject: "\(id)", problem: "registers have no parts and no choice of caching")
    }
    root = unsafe sysfsRoot(request.sysfs_root)
    self.id = id
    options = unsafe OpeningOptions(
      source: try memorySource(request.source),
      allowed: Set((text(request.allow) ?? "").split(separator: ",").map(String.init)),
      isUncached: isUncached)
  }

  /// Opens and maps it.
  func open() throws(DeviceError) -> RegionHandle {
    let opener = Openers.opener(of: root)
    if id.part == .registers {
      return RegionHandle(registersOf: try opener.controller(at: id.device, options))
    }
    // Only a hint, so a device that is gone meanwhile is for the source to notice.
    let found = try? opener.tree.device(at: id.device)
    let opened = try opener.open(id, options)
    var traits = ChunkTraits(device: DeviceKey("\(id.device)"))
    traits.node = found?.numaNode
    if let owner = opened.owner { traits.uses = ChunkUses(rawValue: owner.uses.rawValue) }
    // Uncached, any BAR may be opened, but a pool's memory is zeroed.
    let isRegisters =
      options.isUncached && opened.bar == 0 && found?.classCode.hasNVMeRegisters != false
    do throws(SystemError) {
      return try RegionHandle(mapping: opened.intoRange(), traits, isRegisters: isRegisters)
    } catch {
      throw .system(error)
    }
  }
}

@c @implementation
public func genpool_region_open(
  _ options: UnsafePointer<genpool_region_options>,
  _ region: UnsafeMutablePointer<OpaquePointer?>?
) -> CInt {
  var known = unsafe genpool_region_options()
  let result = unsafe SizedStruct.read(options, into: &known)
  guard result == 0, let region = unsafe region else {
    ErrorText.set("open a region: the options' size is none, or fields of a later version are set")
    return result == 0 ? -EINVAL : result
  }
  let opened: RegionHandle
  do throws(DeviceError) {
    opened = try unsafe RegionRequest(known).open()
  } catch {
    ErrorText.set(error)
    return -error.errno.rawValue
  }
  unsafe region.pointee = OpaquePointer(Unmanaged.passRetained(opened).toOpaque())
  return 0
}

@c @implementation
public func genpool_region_close(_ region: OpaquePointer?) -> CInt {
  guard let region = unsafe region else { return 0 }
  guard unsafe RegionHandle.at(region).isOurs else {
    ErrorText.set("close a region: the parent process opened it")
    return -EPERM
  }
  guard unsafe RegionHandle.at(region).chunkCount == 0 else {
    ErrorText.set("close a region: a pool or a DMA mapping has it, which must end first")
    return -EBUSY
  }
  unsafe Unmanaged<RegionHandle>.fromOpaque(UnsafeRawPointer(region)).release()
  return 0
}
