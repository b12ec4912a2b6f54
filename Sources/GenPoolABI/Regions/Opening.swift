public import CGenPool
import DeviceDMA
import DeviceMemory
import DeviceSources
import GenPool
import Glibc
import LinuxSystem
import NVMe
import PCIDevices
import SystemPackage

/// What a `struct genpool_region_options` asks for.
struct RegionRequest {
  let root: SysfsRoot
  let device: PCIAddress
  let source: UInt32
  let allowed: Set<String>
  let memory: Memory

  enum Memory {
    case bar(BARRequest)
    case ofController(ControllerMemory.Kind)
    case registers
  }

  init(_ options: genpool_region_options) throws(DeviceError) {
    func text(_ pointer: UnsafePointer<CChar>?) -> String? {
      unsafe pointer.map { unsafe String(cString: $0) }
    }
    let name = unsafe text(options.device) ?? ""
    guard let device = PCIAddress(name) else {
      throw .invalid(
        subject: "device \(name)", problem: "that is no PCI address, as 0000:01:00.0 is one")
    }
    let memory = unsafe text(options.memory) ?? ""
    root = unsafe sysfsRoot(options.sysfs_root)
    self.device = device
    source = unsafe options.source
    allowed = unsafe Set((text(options.allow) ?? "").split(separator: ",").map(String.init))
    let isUncached = unsafe options.caching == GENPOOL_CACHING_UNCACHED.rawValue
    guard unsafe isUncached || options.caching == GENPOOL_CACHING_DEFAULT.rawValue else {
      throw .invalid(
        subject: "\(memory) of \(device)", problem: "ask for the default caching, or for none")
    }
    let length = unsafe options.length, offset = unsafe options.offset
    if memory == "registers" {
      self.memory = .registers
    } else if let kind = ControllerMemory.Kind(rawValue: memory) {
      self.memory = .ofController(kind)
    } else if memory.hasPrefix("bar"), let bar = BAR.Index(String(memory.dropFirst(3))) {
      self.memory = .bar(
        BARRequest(
          device: device, bar: bar, offset: ByteCount(offset),
          size: length == 0 ? nil : ByteCount(length), allowed: allowed,
          contents: isUncached ? .registers : .memory))
      return
    } else {
      throw .invalid(
        subject: "\(memory) of \(device)", problem: "memory is bar0 to bar5, cmb, pmr or registers")
    }
    guard offset == 0, length == 0, !isUncached else {
      throw .invalid(
        subject: "\(memory) of \(device)", problem: "only a BAR has parts and a choice of caching")
    }
  }

  /// Opens and maps it.
  func open() throws(DeviceError) -> RegionHandle {
    let range: DeviceRange
    // Only a hint, so a device that is gone meanwhile is somebody else's to notice.
    let found = try? DeviceTree(root: root).device(at: device)
    var isRegisters = false
    var traits = ChunkTraits(device: DeviceKey("\(device)"))
    switch memory {
    case .registers: return RegionHandle(registersOf: try controller())
    case .ofController(let kind):
      let opened = try controller().open(kind)
      traits.uses = ChunkUses(rawValue: opened.memory.uses.rawValue)
      range = opened.intoRange()
    case .bar(let request):
      range = try OpenDevices.source(source, root: root).open(request)
      // Uncached, any BAR may be opened, but a pool's memory is zeroed.
      isRegisters =
        request.contents == .registers && request.bar == 0
        && found?.classCode.hasNVMeRegisters != false
    }
    traits.node = found?.numaNode
    do throws(SystemError) {
      return try RegionHandle(mapping: range, traits, isRegisters: isRegisters)
    } catch {
      throw .system(error)
    }
  }

  private func controller() throws(DeviceError) -> NVMeController {
    try OpenDevices.controller(at: device, source: source, root: root, allowed: allowed)
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
    let request: RegionRequest
    request = try unsafe RegionRequest(known)
    opened = try request.open()
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
