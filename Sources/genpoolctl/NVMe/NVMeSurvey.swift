import DeviceMemory
import DeviceSources
import GenPool
import NVMe
import PCIDevices

/// What can be known of an NVMe controller now, and why no more.
struct NVMeSurvey {
  /// The device.
  let device: Device
  /// Its registers; nil while a driver of its own has it, or when they could not be opened.
  let registers: NVMeRegisters?
  /// What its driver says; nil without one of its own.
  let attributes: NVMeAttributes?
  /// What is not known, and why: sentences.
  private(set) var unknown: [String] = []
  /// Its memory, as far as it is known, or what is wrong with it.
  private(set) var memories: [Memory] = []

  /// One kind of memory of the controller's.
  struct Memory {
    let kind: ControllerMemory.Kind
    /// Where it is, or why not.
    let found: Result<ControllerMemory, ControllerMemoryError>
    /// What the attach rules say of its BAR.
    let refusals: [AttachRule.Refusal]
  }

  /// Whether it is opened through VFIO, because vfio-pci has it.
  var isBoundToVFIO: Bool { device.driver == IOMMUGroup.vfioDriver }

  /// Looks at the controller at `address`. Its registers are mapped only when no driver has it, or
  /// vfio-pci for nobody, and read-only, unless `isProbing`: then a hidden buffer's registers are
  /// asked for, and hidden again.
  init(
    _ address: PCIAddress, in tree: DeviceTree, allowed: Set<String>, isProbing: Bool
  ) throws {
    device = try tree.device(at: address)
    guard device.classCode == .nvme else {
      throw Failure("show \(address): it is no NVMe controller (class \(device.classCode))")
    }
    if let driver = device.driver, driver != IOMMUGroup.vfioDriver {
      registers = nil
      attributes = try NVMeAttributes(of: address, in: tree)
      unknown.append(
        "Driver \(driver) uses the controller, so its registers were not touched: what is here comes "
          + "from the driver's attributes. Version, capabilities and persistent memory region are not "
          + "among them.")
    } else {
      attributes = nil
      do {
        registers = try Self.registers(of: device, tree, allowed, isProbing: isProbing)
      } catch {
        registers = nil
        unknown.append("The registers could not be read: \(error).")
      }
    }
    let subject = try AttachRule.Subject(
      BARRequest(device: address, bar: 0, allowed: allowed), of: device, in: tree)
    findBuffer(subject)
    findRegion(subject)
  }

  private static func registers(
    of device: Device, _ tree: DeviceTree, _ allowed: Set<String>, isProbing: Bool
  ) throws -> NVMeRegisters {
    // Through VFIO the kernel sees to it that nobody else has the device, and wakes it up.
    let source: any BARSource =
      device.driver == nil ? SysfsSource(root: tree.root) : try VFIOSource(root: tree.root)
    if isProbing {
      return try NVMeController(at: device.address, source: source, allowed: allowed)
        .revealedState()
    }
    let range = try source.open(
      BARRequest(
        device: device.address, bar: 0, size: .kibibytes(4), allowed: allowed,
        contents: .registers))
    let registers = try NVMeRegisters(reading: Mapping(mapping: range, access: .readOnly))
    guard registers.capabilities.isAnswer else {
      throw DeviceError.noAnswer(device.address)
    }
    return registers
  }

  private mutating func findBuffer(_ subject: AttachRule.Subject) {
    let location = registers?.bufferLocation ?? attributes?.bufferLocation
    let size = registers?.bufferSize ?? attributes?.bufferSize
    guard let location, let size else {
      if attributes != nil {
        unknown.append(
          "The driver shows no controller memory buffer: there is none, or it can make no use of it, or "
            + "the kernel is older than the attributes cmbloc and cmbsz.")
      }
      return
    }
    if size == 0, let control = registers?.bufferControl, !control.showsRegisters {
      unknown.append(
        "There is a controller memory buffer, but the controller hides where and how large until it is "
          + "asked (CMBMSC.CRE, NVMe 1.4): --probe asks, and hides it again.")
      return
    }
    add(.buffer, subject) { device throws(ControllerMemoryError) in
      try ControllerMemory(bufferLocation: location, bufferSize: size, in: device.bars)
    }
  }

  private mutating func findRegion(_ subject: AttachRule.Subject) {
    guard let region = registers?.persistentRegion else { return }
    add(.persistentRegion, subject) { device throws(ControllerMemoryError) in
      try ControllerMemory(regionCapabilities: region.capabilities, in: device.bars)
    }
  }

  private mutating func add(
    _ kind: ControllerMemory.Kind, _ subject: AttachRule.Subject,
    _ find: (Device) throws(ControllerMemoryError) -> ControllerMemory
  ) {
    let found: Result<ControllerMemory, ControllerMemoryError>
    var refusals: [AttachRule.Refusal] = []
    do throws(ControllerMemoryError) {
      let memory = try find(device)
      found = .success(memory)
      var subject = subject
      subject.request.bar = memory.bar
      subject.request.offset = memory.offset
      subject.request.size = memory.size
      subject.request.contents = .announcedMemory
      refusals = AttachRule.refusals(
        of: subject, under: isBoundToVFIO ? AttachRule.vfio : AttachRule.sysfs)
    } catch .absent {
      return
    } catch {
      found = .failure(error)
    }
    memories.append(Memory(kind: kind, found: found, refusals: refusals))
  }
}
