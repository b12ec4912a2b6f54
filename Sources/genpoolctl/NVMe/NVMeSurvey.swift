import DeviceMemory
import DeviceSources
import GenPool
import NVMe
import PCIDevices

/// The facts of an NVMe controller that can be known now, and the reasons for those that cannot.
struct NVMeSurvey {
  /// The device.
  let device: Device
  /// Its registers; nil while a driver of the kernel's has it, or when they could not be opened.
  private(set) var registers: NVMeRegisters?
  /// The attributes that its driver shows; nil without an nvme driver.
  private(set) var attributes: NVMeAttributes?
  /// The facts that are not known, and why: sentences.
  private(set) var unknown: [String] = []
  /// Its memory, as far as it is known, or what is wrong with it.
  private(set) var memories: [Memory] = []

  /// One kind of memory of the controller's.
  struct Memory {
    let kind: ControllerMemory.Kind
    /// Where it is, or why not.
    let found: Result<ControllerMemory, ControllerMemoryError>
    /// The attach rules that refuse its BAR.
    let refusals: [AttachRule.Refusal]
  }

  /// Whether it is opened through VFIO, because vfio-pci has it.
  var isBoundToVFIO: Bool { device.driver == IOMMUGroup.vfioDriver }

  /// Whether the controller has memory of a kind.
  func presence(of kind: ControllerMemory.Kind) -> MemoryPresence {
    registers?.presence(of: kind) ?? attributes?.presence(of: kind) ?? .unknown
  }

  /// Looks at the controller at `address`. Its registers are mapped only when no driver of the
  /// kernel's has it, and read-only, unless `isProbing`: then a hidden buffer's registers are asked
  /// for, and hidden again.
  init(
    _ address: PCIAddress, in tree: DeviceTree, allowed: Set<String>, isProbing: Bool
  ) throws {
    device = try tree.device(at: address)
    if let other = Self.otherClass(device) { throw Failure("show \(address): \(other)") }
    let subject = try AttachRule.Subject(
      BARRequest(device: address, bar: 0, allowed: allowed, contents: .registers), of: device,
      in: tree)
    if let driver = device.driver, Self.isInUse(subject) {
      readAttributes(driver, tree)
    } else {
      do {
        registers = try Self.registers(of: device, tree, allowed, isProbing: isProbing)
      } catch {
        unknown.append("The registers could not be read: \(error).")
      }
    }
    findBuffer(subject)
    findRegion(subject)
  }

  /// The reason why a device is no NVMe controller; nil when it is one.
  private static func otherClass(_ device: Device) -> String? {
    let code = device.classCode
    if code == .nvme { return nil }
    // Mass storage of no kind that the PCI-SIG has a number for, the interface being NVMe's: Linux'
    // nvme driver knows these controllers by their ids (PCI_VENDOR_ID_APPLE in its table).
    if code.rawValue == 0x018002, device.identity.vendor == 0x106b {
      return
        "it is Apple's storage controller (class \(code)), which is similar to NVMe's (0x010802) "
        + "and announces no memory of its own; its registers were not touched"
    }
    return "it is no NVMe controller (class \(code), not 0x010802)"
  }

  /// Whether a driver of the kernel's serves the device. One for user space, or that only occupies
  /// it, leaves its registers alone.
  private static func isInUse(_ subject: AttachRule.Subject) -> Bool {
    AttachRule.refusals(of: subject).contains { $0.rule == "driver-bound" }
  }

  private static func registers(
    of device: Device, _ tree: DeviceTree, _ allowed: Set<String>, isProbing: Bool
  ) throws -> NVMeRegisters {
    // Through VFIO the kernel sees to it that no other process has the device, and wakes it up.
    let source: any BARSource =
      device.driver == IOMMUGroup.vfioDriver
      ? try VFIOSource(root: tree.root) : SysfsSource(root: tree.root)
    if isProbing {
      // A driver in user space may be running it, and asking changes CMBMSC for a moment.
      if let driver = device.driver, driver == "uio_pci_generic" {
        throw Failure(
          "probe \(device.address): driver \(driver) may have it for a driver in user space; "
            + "genpoolctl device release \(device.address) first")
      }
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

  // MARK: By the driver's attributes

  /// Reads what the kernel's driver shows, which is all that can be known while it has the device.
  private mutating func readAttributes(_ driver: String, _ tree: DeviceTree) {
    let untouched = "Driver \(driver) uses the controller, so its registers were not touched"
    do throws(DeviceError) {
      attributes = try NVMeAttributes(of: device.address, in: tree)
    } catch {
      unknown.append("\(untouched), and the driver's attributes could not be read: \(error).")
      return
    }
    guard let attributes else {
      unknown.append(
        "\(untouched); and it shows no attributes of the controller (there is no directory "
          + "\(device.address)/nvme), so nothing can be read. \(Self.registersNeed)")
      return
    }
    unknown.append(
      "\(untouched): what is here comes from the driver's attributes. Version, capabilities and "
        + "persistent memory region are not among them. \(Self.registersNeed)")
    if attributes.presence(of: .buffer) == .unknown {
      unknown.append(
        "The driver shows no controller memory buffer (cmb, cmbloc, cmbsz): there is none, or it can "
          + "make no use of it, or the kernel is older than these attributes.")
    }
  }

  /// The way to the registers.
  private static let registersNeed =
    "Registers are read while no driver, vfio-pci, uio_pci_generic or pci-stub is bound."

  // MARK: Memory

  private mutating func findBuffer(_ subject: AttachRule.Subject) {
    switch presence(of: .buffer) {
    case .notEnabled:
      unknown.append(
        "The controller memory buffer is not enabled: the controller announces it (CAP.CMBS), and hides "
          + "where it is and how large until it is asked (CMBMSC.CRE, NVMe 1.4). --probe asks, and "
          + "hides it again; attaching \(device.address):cmb enables it.")
    case .none, .unknown: break
    case .present:
      guard let location = registers?.bufferLocation ?? attributes?.bufferLocation,
        let size = registers?.bufferSize ?? attributes?.bufferSize
      else {
        unknown.append("The driver shows how large the buffer is (cmbsz), but not where (cmbloc).")
        return
      }
      add(.buffer, subject) { device throws(ControllerMemoryError) in
        try ControllerMemory(bufferLocation: location, bufferSize: size, in: device.bars)
      }
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
