import DeviceMemory
import PCIDevices

// The facts judged. Each check is a function of facts alone.

extension Diagnosis {
  /// Every check, in the order of a screen: the kernel, the devices, the daemon, the process that
  /// asks. Those of the kernel's that do not matter to an emulated tree are left out.
  var checks: [Check] {
    let machine = tree == nil ? [lockdown, mapping, vfio, iommu] : []
    return [kernelVersion] + machine + [memory, controllers, group, socket, pools, process]
      + [hugePageReserve]
  }

  /// The state, and what is said, of a fact that is not known.
  private func unknown(_ name: String, _ cause: String, cure: String? = nil) -> Check {
    Check(name, .unknown, cause, cure: cure)
  }

  /// The cause of checks that need the list of devices, whose own line has its cause.
  private static let noDevices = "the devices cannot be listed"

  // MARK: Kernel

  private var kernelVersion: Check {
    let name = "kernel"
    guard let release = kernel.release.value, let version = kernel.version else {
      return unknown(name, kernel.release.obstacle ?? "its release is no number")
    }
    let isolation = devices.witness.map { "; isolation \($0.rawValue): \($0.meaning)" } ?? ""
    guard version >= KernelFacts.oldestTried else {
      let oldest = KernelFacts.oldestTried
      return unknown(
        name,
        "Linux \(release) is older than \(oldest.major).\(oldest.minor), the oldest tried"
          + isolation, cure: "a newer kernel")
    }
    return Check(name, .works, "Linux \(release)" + isolation)
  }

  private var lockdown: Check {
    let name = "lockdown"
    switch kernel.lockdown {
    case .unknown(let cause):
      return unknown(
        name, cause, cure: "mount -t securityfs securityfs /sys/kernel/security")
    case .known(.none): return Check(name, .works, "the kernel lets BARs be mapped")
    case .known(let state):
      return Check(
        name, .fails, "\(state.rawValue): BARs cannot be mapped through sysfs; VFIO can",
        cure: "genpoolctl device bind BDF, or boot without secure boot and lockdown=")
    }
  }

  private var mapping: Check {
    let name = "mapping"
    guard let all = devices.all.value else { return unknown(name, Self.noDevices) }
    let bars = all.flatMap(\.device.bars).filter { $0.kind == .memory && $0.physical != nil }
    guard !bars.isEmpty else { return unknown(name, "no device has a memory BAR to look at") }
    guard bars.contains(where: \.hasResourceFile) else {
      return Check(
        name, .fails, "sysfs has no resourceN: this kernel cannot map BARs",
        cure: "a kernel with HAVE_PCI_MMAP or ARCH_GENERIC_PCI_MMAP_RESOURCE")
    }
    let strict =
      switch kernel.isStrict {
      case .known(true): "IO_STRICT_DEVMEM: not those that a driver claims"
      case .known(false): "no IO_STRICT_DEVMEM"
      case .unknown: "IO_STRICT_DEVMEM unknown"
      }
    return Check(
      name, kernel.isStrict.value == nil ? .unknown : .works, "sysfs has resourceN; \(strict)")
  }

  private var vfio: Check {
    let name = "vfio"
    switch kernel.vfio {
    case .unknown(let cause): return unknown(name, cause, cure: "sudo modprobe vfio-pci")
    case .known(.loaded): return Check(name, .works, "vfio-pci is loaded")
    case .known(.withoutNodes):
      return Check(
        name, .fails, "vfio-pci is loaded, but /dev has no vfio/vfio",
        cure: "sudo modprobe vfio; a container: --device /dev/vfio")
    case .known(.loadable):
      return Check(name, .fails, "vfio-pci is not loaded", cure: "sudo modprobe vfio-pci")
    case .known(.missing):
      return Check(
        name, .fails, "the kernel is built without vfio-pci: sysfs only",
        cure: "a kernel with CONFIG_VFIO_PCI")
    }
  }

  private var iommu: Check {
    let name = "iommu"
    switch kernel.iommuGroups {
    case .unknown(let cause): return unknown(name, cause)
    case .known(0):
      return Check(
        name, .fails, "no IOMMU groups: DMA has no guard, and VFIO no use",
        cure: "enable VT-d or AMD-Vi in the firmware; intel_iommu=on or amd_iommu=on")
    case .known(let count):
      let members = devices.all.value?.count { $0.device.iommuGroup != nil }
      let all = devices.all.value?.count
      return Check(
        name, .works,
        (count == 1 ? "1 group" : "\(count) groups")
          + (members.flatMap { members in all.map { "; \(members) of \($0) devices in one" } }
            ?? ""))
    }
  }

  // MARK: Devices

  /// The number of devices that have a line of their own.
  private static let detailLimit = 5

  private var memory: Check {
    let name = "devices"
    guard let all = devices.all.value else {
      return unknown(name, devices.all.obstacle ?? "")
    }
    let withMemory = all.filter { $0.verdict.text != DeviceVerdict.noMemory }
    let good = withMemory.filter { !$0.verdict.sources.isEmpty }
    let open = good.filter(\.isOpen)
    // Those that can be attached first, then those that have memory to be wished for.
    let refused = withMemory.filter { $0.verdict.sources.isEmpty }
    let order =
      good + refused.filter(\.isWanted)
      + refused.filter { !$0.isWanted && !$0.verdict.uses.isEmpty }
    var details = order.prefix(Self.detailLimit).map(\.line)
    if order.count > Self.detailLimit {
      details.append("and \(order.count - Self.detailLimit) more")
    }
    let place = tree.map { " in \($0)" } ?? ""
    let lost =
      devices.unreadable.isEmpty
      ? "" : "; unreadable: \(devices.unreadable.prefix(3).joined(separator: ", "))"
    let facts =
      "\(withMemory.count) of \(all.count) have memory\(place), \(good.count) attachable" + lost
    if !open.isEmpty { return Check(name, .works, facts, details: details) }
    if !good.isEmpty {
      return Check(
        name, .fails, facts + ", by root only", cure: "sudo genpoolctl doctor", details: details)
    }
    let cure =
      all.isEmpty
      ? "genpoolctl emulate --ephemeral --device nvme,cmb=64M"
      : "genpoolctl device list; without hardware: genpoolctl emulate"
    return Check(
      name, devices.unreadable.isEmpty ? .fails : .unknown, facts, cure: cure, details: details)
  }

  private var controllers: Check {
    let name = "nvme"
    guard let all = devices.all.value else { return unknown(name, Self.noDevices) }
    let found = all.filter { $0.memory != nil }
    guard !found.isEmpty else { return Check(name, .fails, "no NVMe controller: no CMB, no PMR") }
    let buffers = found.filter { $0.memory == .buffer }
    if let first = buffers.first {
      return Check(
        name, .works, "\(buffers.count) of \(found.count) found have a CMB; PMRs do not show",
        cure: "genpoolctl nvme show \(first.device.address)")
    }
    let unread = found.first { $0.memory == .notRead } ?? found[0]
    return unknown(
      name, "\(found.count) found; their registers tell of CMB and PMR",
      cure: "genpoolctl nvme show \(unread.device.address)")
  }

  // MARK: Daemon

  private var group: Check {
    let name = "group"
    guard let uid = caller.uid.value else { return unknown(name, caller.uid.obstacle ?? "") }
    // Root of a container's user namespace is another user outside.
    if uid == 0, let foreign = caller.foreignNamespaces.value, !foreign.contains("user") {
      return Check(name, .works, "root may connect whatever group leases")
    }
    // A socket that is there tells more than a group that may be another one.
    let wanted = (daemon.file.value ?? nil).map { $0.gid }
    guard let gid = wanted ?? (daemon.group.value ?? nil) else {
      return Check(
        name, .fails, "there is no group \(DaemonFacts.groupName): genpoold is not installed",
        cure: "sudo systemd-sysusers, after make install")
    }
    if let file = daemon.file.value ?? nil, file.isOpen {
      return Check(name, .works, "uid \(uid) may connect (the socket's group is \(gid))")
    }
    if caller.foreignNamespaces.value?.contains("user") != false {
      return unknown(
        name,
        caller.foreignNamespaces.obstacle
          ?? "uid \(uid) and its groups are of a user namespace, gid \(gid) may not be")
    }
    guard let groups = caller.groups.value else {
      return unknown(name, caller.groups.obstacle ?? "")
    }
    return groups.contains(gid)
      ? Check(name, .works, "uid \(uid) is in group \(gid)")
      : Check(
        name, .fails, "uid \(uid) is not in group \(gid), which may lease",
        cure: "sudo usermod -aG \(DaemonFacts.groupName) $USER; log in anew")
  }

  private var socket: Check {
    let name = "socket"
    switch daemon.file {
    case .unknown(let cause): return unknown(name, cause)
    case .known(nil):
      return Check(
        name, .fails, "\(daemon.socket) is not there",
        cure: tree == nil
          ? "sudo systemctl enable --now genpoold.socket, or genpoold --attach BDF:BAR"
          : "genpoold --attach BDF:BAR &, with this shell's GENPOOL_SOCKET")
    case .known(let file?):
      guard file.isOpen else {
        return Check(name, .fails, "\(daemon.socket) does not let this user connect; see group")
      }
      let facts = "\(daemon.socket), of uid \(file.uid)"
      if let answer = daemon.answer.value, answer != nil { return Check(name, .works, facts) }
      switch daemon.isListened {
      case .known(true): return Check(name, .works, facts)
      case .known(false):
        // Listeners of another network namespace do not show.
        let isOwn =
          caller.foreignNamespaces.value?.contains("net") == false
          && caller.unseenNamespaces.isEmpty
        return isOwn
          ? Check(
            name, .fails, "\(daemon.socket) is stale: no process listens at it",
            cure: "sudo systemctl restart genpoold.socket, or start genpoold")
          : unknown(
            name, "no process of this network namespace listens at it",
            cure: "genpoolctl pool list")
      case .unknown(let cause): return unknown(name, cause, cure: "genpoolctl pool list")
      }
    }
  }

  private var pools: Check {
    let name = "daemon"
    switch daemon.answer {
    case .unknown(let cause): return unknown(name, cause, cure: "genpoolctl pool list")
    case .known(nil):
      if let file = daemon.file.value ?? nil, file.isOpen {
        return unknown(
          name, "no genpoold shows in /proc; asking would start it, and erase its pools' memory",
          cure: "genpoolctl pool list")
      }
      return Check(name, .fails, "genpoold does not run")
    case .known(let answer?):
      let names = answer.pools.prefix(4).joined(separator: ", ")
      let more = answer.pools.count > 4 ? ", …" : ""
      let idle = answer.idlePools == 0 ? "" : "; \(answer.idlePools) not ready"
      let count = answer.pools.count
      let facts = "genpoold \(answer.version), " + (count == 1 ? "1 pool" : "\(count) pools")
      return answer.pools.isEmpty
        ? Check(name, .fails, facts + idle, cure: "genpoolctl pool attach BDF:BAR")
        : Check(name, .works, facts + " (\(names)\(more))" + idle)
    }
  }

  // MARK: Process

  private var process: Check {
    let name = "namespaces"
    guard let foreign = caller.foreignNamespaces.value else {
      return unknown(name, caller.foreignNamespaces.obstacle ?? "")
    }
    let marks = caller.containerMarks.isEmpty ? "" : " (\(caller.containerMarks[0]) is there)"
    let share = "run -v \(daemon.socket):\(daemon.socket): the host's genpoold leases"
    if foreign.contains("user") {
      return Check(
        name, .fails, "a container's user namespace: devices are the host's\(marks)", cure: share)
    }
    if caller.uid.value == 0 {
      guard let isAdministrator = caller.isAdministrator.value else {
        return unknown(name, caller.isAdministrator.obstacle ?? "")
      }
      if !isAdministrator {
        return Check(
          name, .fails, "root without CAP_SYS_ADMIN cannot attach\(marks)", cure: share)
      }
    }
    if foreign.isEmpty, !caller.unseenNamespaces.isEmpty {
      return unknown(
        name,
        "\(caller.unseenNamespaces.joined(separator: ", ")): not readable of process 1"
          + marks, cure: "sudo genpoolctl doctor")
    }
    guard foreign.isEmpty else {
      return Check(
        name, .unknown,
        "not init's: \(foreign.joined(separator: ", ")); locks and holders of others do not show"
          + marks, cure: "run -v /run/genpool-locks:/run/genpool-locks --pid=host")
    }
    return Check(name, .works, "those of init" + marks)
  }

  private var hugePageReserve: Check {
    let name = "hugepages"
    switch hugePages {
    case .unknown(let cause): return unknown(name, cause)
    case .known(let pages):
      let facts = "\(pages.free) of \(pages.all) huge pages of 2 MiB are free"
      return pages.free > 0
        ? Check(name, .works, facts)
        : Check(
          name, .fails, "no huge page of 2 MiB is free; genpool-nvme takes some",
          cure: "sudo sysctl vm.nr_hugepages=64")
    }
  }
}

extension MachineDevices.Entry {
  /// Whether a user may want its memory: prefetchable, or of an NVMe controller.
  fileprivate var isWanted: Bool {
    memory != nil || device.bars.contains { $0.kind == .memory && $0.isPrefetchable }
  }

  /// The device and the command that attaches it, or why none does.
  fileprivate var line: String {
    guard let bar = verdict.bar, let command = verdict.command else {
      let uses = verdict.uses.isEmpty ? "" : "\(verdict.uses.joined(separator: ", ")); "
      return "\(device.address)  \(uses)\(verdict.text)"
    }
    return "\(device.address)  \(bar.size): \(command)"
  }
}

extension Witness {
  /// The order in which users can have a pool, in few words.
  fileprivate var meaning: String {
    switch self {
    case .perLease: "users follow each other"
    case .fileLease: "users follow each other when a BAR is let go"
    case .reopening: "users follow each other when the device is opened anew"
    case .none: "one user until detach"
    }
  }
}
