public import DeviceMemory
public import DeviceSources
import LinuxSystem
public import NVMe
public import PCIDevices
import Synchronization

/// Opens the memory that a ``DeviceMemoryID`` names: the one place that knows which source and
/// which controller that takes.
///
/// One source of each kind, because the locks that keep other processes out keep out a second
/// source of the same process as well; and one object of each NVMe controller some of whose
/// memory is open, which that memory keeps. Safe to use from many threads.
public final class DeviceOpener: Sendable {
  /// The devices.
  public let tree: DeviceTree

  private let timeout: Duration?
  private let report: @Sendable (DeviceError) -> Void
  private let sources = Mutex<[MemorySource: any BARSource]>([:])
  private let controllers = Mutex<[ControllerKey: WeakController]>([:])

  private struct ControllerKey: Hashable {
    let source: MemorySource
    let device: PCIAddress
  }

  private struct WeakController {
    weak var controller: NVMeController?
  }

  /// Opens devices under `root`. Opens nothing yet.
  /// - Parameters:
  ///   - timeout: the longest wait for an NVMe controller; nil for as long as its registers say.
  ///   - report: called for what could not be undone when memory is given back.
  public init(
    root: SysfsRoot = .standard, timeout: Duration? = nil,
    report: @escaping @Sendable (DeviceError) -> Void = { _ in }
  ) {
    tree = DeviceTree(root: root)
    self.timeout = timeout
    self.report = report
  }

  /// The source of a kind.
  /// - Throws: the system's error where VFIO's events cannot be waited for.
  public func source(_ kind: MemorySource) throws(DeviceError) -> any BARSource {
    try sources.withLock { (sources) throws(DeviceError) in
      if let source = sources[kind] { return source }
      let source: any BARSource
      do throws(SystemError) {
        source =
          switch kind {
          case .sysfs: SysfsSource(tree: tree, report: report)
          case .vfio: try VFIOSource(tree: tree)
          }
      } catch {
        throw .system(error)
      }
      sources[kind] = source
      return source
    }
  }

  /// The devices that the kernel wants back from VFIO.
  public func removalRequests() throws(DeviceError) -> RemovalRequests {
    guard let source = try source(.vfio) as? VFIOSource else {
      preconditionFailure("the source of VFIO is a VFIOSource")
    }
    return source.requests
  }

  /// The NVMe controller at `address`, its registers open. One that is open already is returned
  /// again while its device is present: a device that was pulled out is another one.
  public func controller(
    at address: PCIAddress, _ options: OpeningOptions = OpeningOptions()
  ) throws(DeviceError) -> NVMeController {
    let source = try source(options.source)
    let key = ControllerKey(source: options.source, device: address)
    return try controllers.withLock { (controllers) throws(DeviceError) in
      controllers = controllers.filter { $0.value.controller != nil }
      if let open = controllers[key]?.controller, source.isPresent(address) { return open }
      let controller = try NVMeController(
        at: address, source: source, naming: options.naming, allowed: options.allowed,
        patience: timeout, report: report)
      controllers[key] = WeakController(controller: controller)
      return controller
    }
  }

  /// Opens the memory that `id` names. What that changed is undone when the range ends.
  /// - Throws: ``DeviceError``: attach rules that forbid it, ``OpeningOptions/protectsPersistent``
  ///   among them; for registers, which are no memory: see ``controller(at:_:)``.
  public func open(
    _ id: DeviceMemoryID, _ options: OpeningOptions = OpeningOptions()
  ) throws(DeviceError) -> OpenDeviceMemory {
    switch id.part {
    case .bar(let index):
      if options.protectsPersistent, index != 0 { try refusePersistent(id, in: index, options) }
      let range = try source(options.source).open(
        BARRequest(
          device: id.device, bar: index, offset: id.offset, size: id.size, naming: options.naming,
          allowed: options.allowed, contents: options.isUncached ? .registers : .memory))
      return OpenDeviceMemory(bar: index, offset: id.offset, owner: nil, range: range)
    case .controllerMemoryBuffer: return try open(id, .buffer, options)
    case .persistentMemoryRegion:
      if options.protectsPersistent { try refusePersistent(id, in: nil, options) }
      return try open(id, .persistentRegion, options)
    case .registers:
      throw .invalid(subject: "\(id)", problem: "registers are no memory to allocate from")
    }
  }

  private func open(
    _ id: DeviceMemoryID, _ kind: ControllerMemory.Kind, _ options: OpeningOptions
  ) throws(DeviceError) -> OpenDeviceMemory {
    guard !options.isUncached else {
      throw .invalid(subject: "\(id)", problem: "only a BAR has a choice of caching")
    }
    let opened = try controller(at: id.device, options).open(kind, offset: id.offset, size: id.size)
    let memory = opened.memory
    return OpenDeviceMemory(
      bar: memory.bar, offset: memory.offset,
      owner: OpenDeviceMemory.Owner(device: opened.owner, uses: memory.uses),
      range: opened.intoRange())
  }

  /// Refuses the BAR that an NVMe controller's persistent memory region is in, or with nil the
  /// region.
  private func refusePersistent(
    _ id: DeviceMemoryID, in bar: BAR.Index?, _ options: OpeningOptions
  ) throws(DeviceError) {
    let found: BAR.Index?
    do throws(DeviceError) {
      found = try controller(at: id.device, options).persistentBAR()
    } catch .notNVMe {
      return
    }
    // A region that is not there need not be spared.
    guard let found, bar == nil || bar == found else { return }
    throw .refused(id.device, [.persistent(id.device)])
  }
}

/// The choices of an opening.
public struct OpeningOptions: Hashable, Sendable {
  /// The interface of the kernel that opens it.
  public var source: MemorySource
  /// The way in which the device was chosen.
  public var naming: BARRequest.Naming
  /// Attach rules that may be broken this once.
  public var allowed: Set<String>
  /// Whether a BAR is mapped uncached, as registers are.
  public var isUncached: Bool
  /// Whether an NVMe controller's persistent memory region, and the BAR that it is in, are refused.
  public var protectsPersistent: Bool

  public init(
    source: MemorySource = .sysfs, naming: BARRequest.Naming = .byAddress,
    allowed: Set<String> = [], isUncached: Bool = false, protectsPersistent: Bool = false
  ) {
    self.source = source
    self.naming = naming
    self.allowed = allowed
    self.isUncached = isUncached
    self.protectsPersistent = protectsPersistent
  }
}

extension AttachRule.Refusal {
  /// A controller's persistent memory region is not erased unasked.
  fileprivate static func persistent(_ device: PCIAddress) -> Self {
    Self(
      rule: "persistent", subject: "the persistent memory region of \(device)",
      cause: "what is in it was meant to last, and pools are erased", cure: "say erase=yes")
  }
}
