package import GenPool
import LinuxSystem

extension AttachRule {
  /// The rules for opening memory through sysfs, where a client can be given no less than a whole
  /// BAR and nothing revokes it.
  public static let sysfs: [AttachRule] =
    deviceRules + mappingRules + driverRules + barRules + fileRules

  /// What kind of device it is, and whether it answers. Whatever opens it.
  static let deviceRules: [AttachRule] = [
    noResponse,
    unreadable,
    AttachRule("display") { subject in
      let code = subject.device.classCode
      return code.isDisplay && !code.isAccelerator
        ? "it is a display controller (class \(code))" : nil
    } cure: { _ in
      "choose a device that shows nobody a picture"
    },
    // Compute accelerators are of these classes, and graphics cards without a console as well.
    AttachRule("accelerator", canBeAllowed: true) { subject in
      let code = subject.device.classCode
      return code.isAccelerator
        ? "it is a display controller of a kind (class \(code)) that may be an accelerator, or "
          + "have a screen" : nil
    } cure: { _ in
      "see to it that it has no screen"
    },
    AttachRule("bridge") { subject in
      subject.device.classCode.isBridge ? "it is a bridge (class \(subject.device.classCode))" : nil
    } cure: { _ in
      "choose an endpoint: the devices below a bridge would go with it"
    },
    AttachRule("boot-vga") { subject in
      subject.device.isBootVGA ? "the firmware's console is on it" : nil
    } cure: { _ in
      "choose another device"
    },
    // A search must not take someone's disk or network card.
    AttachRule("named-by-address") { subject in
      let code = subject.device.classCode
      guard code.isStorage || code.isNetwork, subject.request.naming != .byAddress else {
        return nil
      }
      return "it is a \(code.isStorage ? "storage" : "network") controller that nobody named"
    } cure: { subject in
      "name it by its address, \(subject.device.address)"
    },
  ]

  /// Whether its memory can be mapped while no driver looks after it.
  private static let mappingRules: [AttachRule] = [
    // "unknown" is a device that no driver ever enabled: enabling it powers it up.
    AttachRule("power-state") { subject in
      guard let state = subject.device.powerState, state != .d0, state != .unknown else {
        return nil
      }
      return "it is in power state \(state.rawValue), where its memory reads as garbage"
    } cure: { subject in
      // vfio-pci lets a device sleep until it is opened; another driver has it awake from the
      // start.
      if subject.device.driver == IOMMUGroup.vfioDriver, subject.device.iommuGroup != nil {
        return "attach it through VFIO (source=vfio), which wakes it"
      }
      let cure = subject.bindingCure(
        of: [subject.device.address], next: subject.attachingWhenBound + ", which wakes it",
        isToWake: true)
      let isBoundForSysfs =
        subject.device.driver == driverWithoutIOMMU && subject.device.iommuGroup == nil
      return (isBoundForSysfs ? "genpoolctl device unbind \(subject.device.address), then " : "")
        + cure
    },
    AttachRule("hotplug", canBeAllowed: true) { subject in
      if let slot = subject.device.hotplugSlot {
        return
          "it sits in hot-plug slot \(quoted(slot)), and a mapping through sysfs is not revoked "
          + "when it is pulled out"
      }
      return subject.device.isRemovable
        ? "the firmware calls it removable, and a mapping through sysfs is not revoked then" : nil
    } cure: { _ in
      "see to it that it stays, or move it to a fixed slot"
    },
    AttachRule("lockdown") { subject in
      subject.lockdown == .none
        ? nil : "the kernel is locked down (\(subject.lockdown.rawValue)), so BARs cannot be mapped"
    } cure: { _ in
      "boot without secure boot and lockdown="
    },
  ]

  /// Who else has a hand on it.
  private static let driverRules: [AttachRule] = [
    AttachRule("driver-bound") { subject in
      guard let driver = subject.device.driver, !passiveDrivers.contains(driver),
        subject.request.forced == nil
      else { return nil }
      return subject.usesFirst("driver \(driver) is bound to it")
    } cure: { subject in
      if subject.device.isVFIOs, subject.device.iommuGroup != nil {
        return subject.attachingWhenBound
      }
      return subject.bindingCure(of: [subject.device.address], next: subject.attachingWhenBound)
    },
    forceMismatch,
    AttachRule("group-not-viable") { subject in
      let busy = busyMembers(subject)
      if let unknown = subject.unknownGroup { return unknown }
      guard let group = subject.device.iommuGroup, !busy.isEmpty else { return nil }
      return "IOMMU group \(group.number) also has \(subject.describe(busy))"
    } cure: { subject in
      guard subject.unknownGroup == nil else { return "look at it on the machine it is of" }
      return subject.bindingCure(
        of: busyMembers(subject).compactMap(\.address), next: subject.attachingWhenBound)
    },
  ]

  /// Nothing can be done with a device that is not there.
  static let noResponse = AttachRule("no-response") { subject in
    subject.device.isResponding
      ? nil : "its configuration space reads as all-ones: pulled out, without power, or failed"
  } cure: { _ in
    "check the device, then remove and rescan it"
  }

  /// Refuses a device with problems: the part that is not known could be what forbids it.
  static let unreadable = AttachRule("unreadable") { subject in
    subject.device.problems.first.map { problem in
      let others = subject.device.problems.count - 1
      return "\(problem)" + (others > 0 ? " (and \(others) more)" : "")
    }
  } cure: { _ in
    "mend the file, or report it: the kernel's own are never so"
  }

  /// Whoever forces must know what.
  static let forceMismatch = AttachRule("force-mismatch") { subject in
    guard let forced = subject.request.forced, forced != subject.device.identity else {
      return nil
    }
    return "it was to be forced as \(forced), but it is \(subject.device.identity)"
  } cure: { _ in
    "check the address"
  }

  /// The other members of the group whose drivers use them.
  private static func busyMembers(_ subject: Subject) -> [IOMMUGroup.Member] {
    let members = subject.device.iommuGroup?.members ?? []
    return members.filter { $0.address != subject.device.address && !isViable($0) }
  }

  /// Without a driver that does DMA of its own, or one that lets user space do any.
  private static func isViable(_ member: IOMMUGroup.Member) -> Bool {
    !member.isBlocker || member.driver.map(passiveDrivers.contains) == true
  }

  /// Whether the BAR is memory that can be mapped. Whatever opens it.
  static let barRules: [AttachRule] = [
    AttachRule("no-such-bar") { subject in
      subject.bar == nil ? "it does not implement BAR \(subject.request.bar)" : nil
    } cure: { subject in
      otherBARs(subject)
    },
    AttachRule("not-memory") { subject in
      subject.bar?.kind == .io ? "BAR \(subject.request.bar) decodes I/O ports" : nil
    } cure: { subject in
      otherBARs(subject)
    },
    AttachRule("empty-bar") { subject in
      subject.memoryBAR?.size == .zero ? "BAR \(subject.request.bar) has no size" : nil
    } cure: { subject in
      otherBARs(subject)
    },
    AttachRule("unassigned-bar") { subject in
      guard let bar = subject.memoryBAR, bar.size > .zero, bar.physical == nil else { return nil }
      return "the kernel has found no address for BAR \(bar.index)"
    } cure: { _ in
      "enable 64-bit BARs in the firmware, or boot with pci=realloc"
    },
    // Registers in the rest of the page would be mapped too.
    AttachRule("partial-page") { subject in
      let page = ByteCount(pageSize)
      guard let range = subject.memoryBAR?.physical,
        !(range.first.isAligned(to: page) && range.size.isMultiple(of: page))
      else { return nil }
      return
        "BAR \(subject.request.bar) (\(range.size) at \(range.first)) does not fill whole pages"
    } cure: { subject in
      otherBARs(subject)
    },
    // A pool's memory is zeroed, and a write to these starts commands.
    AttachRule("registers") { subject in
      guard subject.isControllerRegisters else { return nil }
      return subject.request.contents == .memory
        ? "BAR 0 holds the NVMe controller's registers"
        : "the memory that its registers announce would be the registers themselves"
    } cure: { subject in
      guard subject.device.classCode == .nvme, subject.request.contents == .memory else {
        return otherBARs(subject)
      }
      return "attach the controller's memory \(byName(subject.device))"
    },
    AttachRule("registers-beside") { subject in
      let blocks = subject.registersInTheWay
      return blocks.isEmpty
        ? nil : "it has registers there: " + list(blocks.map(\.description))
    } cure: { subject in
      subject.partBesideRegisters.map { part in
        "attach the memory beside them: \(subject.device.address):\(subject.request.bar),"
          + "offset=0x\(hexadecimal(part.lowerBound, digits: 1)),"
          + "size=0x\(hexadecimal(part.upperBound - part.lowerBound, digits: 1))"
      } ?? otherBARs(subject)
    },
    AttachRule("unknown-capabilities") { subject in
      subject.device.registers == nil && subject.request.contents != .registers
        && subject.memoryBAR != nil
        ? "its capabilities, which say where registers are, cannot be read: the kernel shows them "
          + "to root only, or their list has a loop or no end" : nil
    } cure: { _ in
      "ask as root, as the daemon does"
    },
    // The kernel has claimed none of them then: "can't enable device: BAR 2 not claimed".
    AttachRule("overlapping-bar") { subject in
      let others = subject.overlapping
      guard let range = subject.memoryBAR?.physical, !others.isEmpty else { return nil }
      return "BAR \(subject.request.bar) (\(range)) overlaps "
        + list(others.map { "\($0.part) of \($0.device)" })
    } cure: { _ in
      "boot with pci=realloc, or mend the firmware's addresses"
    },
    AttachRule("not-prefetchable", canBeAllowed: true) { subject in
      guard let bar = subject.memoryBAR, bar.physical != nil, !bar.isPrefetchable,
        subject.request.contents == .memory, !subject.isControllerRegisters
      else { return nil }
      return "BAR \(bar.index) is not prefetchable: registers, most likely"
    } cure: { subject in
      guard subject.device.classCode == .nvme else { return otherBARs(subject) }
      return "if the controller's memory lies there, attach it \(byName(subject.device))"
    },
  ]

  /// The start of an NVMe controller's BAR 0 that no memory can share: registers up to 1000h, and
  /// the page of the first doorbells (NVMe 1.4 section 3.1).
  package static let nvmeRegisters: ByteCount = .kibibytes(8)

  /// The names of an NVMe controller's memory and the command that shows it, for a cure.
  private static func byName(_ device: Device) -> String {
    "by name, \(device.address):cmb or \(device.address):pmr; genpoolctl nvme show \(device.address)"
  }

  /// Whether the kernel shows it.
  private static let fileRules: [AttachRule] = [
    AttachRule("no-resource-file") { subject in
      guard let bar = subject.memoryBAR, bar.physical != nil, !bar.hasResourceFile else {
        return nil
      }
      return "sysfs has no \(bar.resourceFile) of it: this kernel cannot map BARs through sysfs"
    } cure: { _ in
      "boot a kernel that can (HAVE_PCI_MMAP or ARCH_GENERIC_PCI_MMAP_RESOURCE)"
    }
  ]

  /// The other BARs for a cure, since the wrong one was asked for. Not an NVMe controller's
  /// registers.
  private static func otherBARs(_ subject: Subject) -> String {
    let others = subject.device.bars.filter { bar in
      bar.index != subject.request.bar
        && !(bar.index == 0 && subject.device.classCode.hasNVMeRegisters)
    }
    return others.isEmpty
      ? "it has no other BAR" : "it has " + others.map(\.description).joined(separator: ", ")
  }
}
