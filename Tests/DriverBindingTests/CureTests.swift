import DeviceFixtures
import DriverBinding
import PCIDevices
import Testing

/// The cures of devices that a driver has, followed as they are printed.
@Suite struct CureTests {
  private func refusals(
    _ tree: TemporaryTree, under rules: [AttachRule]
  ) throws -> [AttachRule.Refusal] {
    let devices = DeviceTree(root: tree.root)
    let subject = try AttachRule.Subject(
      BARRequest(device: tree.address, bar: 2), of: devices.device(at: tree.address), in: devices)
    return AttachRule.refusals(of: subject, under: rules)
  }

  /// The plan of the `genpoolctl device bind` or `release` in a cure.
  private func plan(_ cure: String, _ binding: DeviceBinding) throws -> BindingPlan {
    let found = cure.firstMatch(
      of:
        /genpoolctl device (bind|release) (\S+)( --group)?(?: --driver (\S+))? \(with --dry-run first\)/
    )
    let match = try #require(found, "\(cure)")
    let address = try #require(PCIAddress(String(match.2)))
    guard match.1 == "bind" else {
      try #require(match.4 == nil)
      return try binding.plan(releasing: address, isWholeGroup: match.3 != nil)
    }
    return try binding.plan(
      binding: address, to: match.4.map(String.init) ?? IOMMUGroup.vfioDriver,
      isWholeGroup: match.3 != nil)
  }

  /// A tree whose kernel has both drivers for user space.
  private func machine(_ devices: [String]) throws -> (TemporaryTree, DeviceBinding) {
    let (tree, binding) = try TemporaryTree.binding(devices)
    try tree.makeDirectory("/bus/pci/drivers/uio_pci_generic")
    return (tree, binding)
  }

  private static let driven: [[String]] = [
    ["nvme,cmb=1M,driver=nvme"], ["nvme,cmb=1M,driver=odd"],
    ["nvme,cmb=1M,driver=nvme,group=1"],
    ["nvme,cmb=1M,driver=nvme,group=1", "ivshmem,driver=ivshmem,group=1"],
    ["nvme,cmb=1M,group=1", "ivshmem,driver=ivshmem,group=1", "nvme,driver=nvme,group=1"],
    ["nvme,cmb=1M,driver=nvme,group=1", "ivshmem,driver=uio_pci_generic,group=1"],
    ["nvme,cmb=1M,driver=vfio-pci,group=1", "ivshmem,driver=ivshmem,group=1"],
  ]

  @Test(arguments: driven)
  func `after the cure for sysfs the device can be attached`(devices: [String]) throws {
    let (tree, _) = try machine(devices)
    let before = try refusals(tree, under: AttachRule.sysfs)
    #expect(!before.isEmpty)
    for refusal in before {
      let (tree, binding) = try machine(devices)
      try tree.bind(plan(refusal.cure, binding))
      let isThroughVFIO = refusal.cure.contains("source=vfio")
      #expect(isThroughVFIO == devices[0].contains("group="))
      #expect(refusal.cure.contains("genpoolctl device release") != isThroughVFIO)
      #expect(
        try refusals(tree, under: isThroughVFIO ? AttachRule.vfio : AttachRule.sysfs).isEmpty)
    }
  }

  @Test(arguments: driven.filter { $0[0].contains("group=") })
  func `after the cure for VFIO the device can be attached`(devices: [String]) throws {
    let (tree, _) = try machine(devices)
    let before = try refusals(tree, under: AttachRule.vfio)
    #expect(!before.isEmpty)
    for refusal in before {
      let (tree, binding) = try machine(devices)
      try tree.bind(plan(refusal.cure, binding))
      #expect(try refusals(tree, under: AttachRule.vfio).isEmpty)
    }
  }

  @Test(arguments: ["", ",driver=nvme", ",driver=uio_pci_generic"])
  func `without an IOMMU group the cure for VFIO leads to sysfs`(driver: String) throws {
    let (tree, binding) = try machine(["nvme,cmb=1M" + driver])
    let refusals = try refusals(tree, under: AttachRule.vfio)
    #expect(refusals.map(\.rule) == ["no-iommu-group", "not-vfio-pci"])
    #expect(refusals[1].cure.hasSuffix("attach it through sysfs (source=sysfs)"))
    if !driver.isEmpty { try tree.bind(plan(refusals[1].cure, binding)) }
    #expect(try self.refusals(tree, under: AttachRule.sysfs).isEmpty)
    guard driver == ",driver=nvme" else { return }
    // The refusal of a plan names the same way.
    let other = try machine(["nvme,cmb=1M" + driver])
    let refused = try other.1.plan(binding: other.0.address).refusals
    #expect(refused.map(\.rule) == ["no-iommu-group"])
    #expect(refused[0].cure.contains("genpoolctl device release \(other.0.address), then attach"))
  }

  @Test(arguments: ["", ",driver=nvme", ",driver=vfio-pci"])
  func `a device that sleeps is woken by VFIO`(driver: String) throws {
    let (tree, binding) = try machine(["nvme,cmb=1M,group=1" + driver])
    try tree.write("power_state", "D3hot\n")
    let refusal = try #require(try refusals(tree, under: AttachRule.sysfs).first)
    #expect(refusal.rule == "power-state")
    #expect(refusal.cure.contains("attach it through VFIO (source=vfio), which wakes it"))
    if !driver.hasSuffix("vfio-pci") { try tree.bind(plan(refusal.cure, binding)) }
    #expect(try refusals(tree, under: AttachRule.vfio).isEmpty)
  }

  @Test(arguments: ["", ",driver=nvme", ",driver=uio_pci_generic"])
  func `a device that sleeps is woken by its driver for sysfs`(driver: String) throws {
    let (tree, binding) = try machine(["nvme,cmb=1M" + driver])
    try tree.write("power_state", "D3hot\n")
    let refusal = try #require(try refusals(tree, under: AttachRule.sysfs).first)
    #expect(refusal.rule == "power-state")
    if driver.hasSuffix("generic") {
      #expect(refusal.cure.hasPrefix("genpoolctl device unbind \(tree.address), then genpoolctl"))
      #expect(try binding.plan(unbinding: tree.address).refusals.isEmpty)
      tree.remove("driver")
    }
    try tree.bind(plan(refusal.cure, binding))
    try tree.write("power_state", "D0\n")
    #expect(try refusals(tree, under: AttachRule.sysfs).isEmpty)
  }

  @Test func `a group that no command makes viable asks for another slot`() throws {
    let (tree, binding) = try machine(["nvme,cmb=1M,driver=nvme,group=1"])
    try tree.makeDirectory("/bus/platform/drivers/arm-smmu-test")
    try tree.makeDirectory("/kernel/iommu_groups/1/devices/platform-thing")
    try tree.link(
      "/kernel/iommu_groups/1/devices/platform-thing/driver",
      to: "../../../../../bus/platform/drivers/arm-smmu-test")
    let refusals = try refusals(tree, under: AttachRule.sysfs)
    #expect(refusals.map(\.rule) == ["driver-bound", "group-not-viable"])
    #expect(refusals.allSatisfy { $0.cure == "plug the device into another slot" })
    let plan = try binding.plan(binding: tree.address, isWholeGroup: true)
    #expect(plan.refusals.map(\.cure) == ["plug the device into another slot"])
  }

  @Test func `a device without a driver gets the one that is named, whatever its group has`() throws
  {
    let (tree, binding) = try machine(["nvme,cmb=1M,group=1", "ivshmem,driver=ivshmem,group=1"])
    try tree.makeDirectory("/bus/pci/drivers/nvme")
    let refusal = try #require(try binding.plan(unbinding: tree.address).refusals.first)
    #expect(refusal.cure.hasSuffix("genpoolctl device bind \(tree.address) --driver NAME"))
    #expect(try binding.plan(binding: tree.address, to: "nvme").refusals.isEmpty)
    let passive = try binding.plan(binding: tree.address, to: "uio_pci_generic")
    #expect(passive.refusals.map(\.rule) == ["group-not-viable"])
  }

  // MARK: Uses

  @Test(arguments: [AttachRule.sysfs, AttachRule.vfio])
  func `a use is in the cause, and its end comes before the binding`(rules: [AttachRule]) throws {
    let (tree, binding) = try machine(["nvme,cmb=1M,driver=nvme,group=1"])
    try tree.setNetworkUp()
    let refusal = try #require(try refusals(tree, under: rules).first)
    #expect(refusal.cause.hasPrefix("eth7 up; driver nvme is bound to it"))
    #expect(
      refusal.cure.hasPrefix(
        "ip link set eth7 down; then genpoolctl device bind \(tree.address) (with --dry-run first)")
    )
    #expect(try plan(refusal.cure, binding).refusals.map(\.rule) == ["in-use"])
    try tree.write("/bus/pci/devices/\(tree.address)/net/eth7/flags", "0x1002\n")
    #expect(try plan(refusal.cure, binding).refusals.isEmpty)
  }

  @Test(arguments: [AttachRule.sysfs, AttachRule.vfio])
  func `a use of another member is named with that member`(rules: [AttachRule]) throws {
    let (tree, binding) = try machine([
      "nvme,cmb=1M,driver=vfio-pci,group=1", "nvme,driver=nvme,group=1",
    ])
    try tree.setMounted(at: "/srv", on: tree.addresses[1])
    let refusals = try refusals(tree, under: rules)
    #expect(refusals.map(\.rule) == ["group-not-viable"])
    #expect(
      refusals[0].cause
        == "IOMMU group 1 also has \"\(tree.addresses[1])\" with driver nvme: nvme0n1 mounted on /srv"
    )
    #expect(refusals[0].cure.hasPrefix("umount /srv; then genpoolctl device bind"))
    try tree.setMounted(on: tree.addresses[1])
    #expect(try plan(refusals[0].cure, binding).refusals.isEmpty)
  }

  @Test func `many uses are counted, not listed`() throws {
    let (tree, _) = try machine(["nvme,cmb=1M,driver=nvme,group=1"])
    try tree.setMounted(at: "/a", "/b", "/c", "/d", "/e")
    let refusal = try #require(try refusals(tree, under: AttachRule.sysfs).first)
    #expect(refusal.cause.contains("nvme0n1 mounted on /c and 2 more; driver nvme"))
    #expect(refusal.cure.hasPrefix("umount /a, umount /b, umount /c and 2 more; then genpoolctl"))
  }

  @Test func `the disk of the running system is not to be freed`() throws {
    let (tree, binding) = try machine(["nvme,cmb=1M,driver=nvme,group=1"])
    try tree.setMounted(at: "/srv", "/")
    let refusal = try #require(try refusals(tree, under: AttachRule.sysfs).first)
    #expect(refusal.cause.hasPrefix("nvme0n1 mounted on /srv, nvme0n1 mounted on /; "))
    #expect(refusal.cure == "choose another device: the running system is on it")
    #expect(try binding.plan(binding: tree.address).refusals.map(\.rule) == ["in-use", "in-use"])
  }

  @Test func `a use that cannot be read is not taken for none`() throws {
    let (tree, _) = try machine(["nvme,cmb=1M,driver=nvme,group=1"])
    try tree.setNetworkUp()
    try tree.write("/bus/pci/devices/\(tree.address)/net/eth7/flags", "up\n")
    let refusal = try #require(try refusals(tree, under: AttachRule.sysfs).first)
    #expect(refusal.rule == "driver-bound")
    #expect(refusal.cause.contains("whether \(tree.address) is in use cannot be told: "))
    #expect(refusal.cure.hasPrefix("genpoolctl device bind \(tree.address) (with --dry-run first)"))
  }

  // MARK: All rules

  /// A machine that breaks rules.
  private struct Break {
    let devices: [String]
    /// The file of the first device, or below the root, and its text; nil for an undamaged tree.
    var file: (name: String, text: String)?
  }

  /// A way to break each rule that a file can break, and more ways for those about drivers.
  private static let breaks: [Break] =
    driven.map { Break(devices: $0) }
    + [("class", "0x030000"), ("class", "0x060400"), ("boot_vga", "1"), ("power_state", "D3hot")]
    .map { Break(devices: ["nvme,cmb=1M"], file: $0) } + [
      Break(devices: ["nvme,cmb=1M,group=1"], file: ("power_state", "D3hot")),
      Break(devices: ["nvme,cmb=1M,removable=yes"]), Break(devices: ["nvme"]),
      Break(
        devices: ["nvme,cmb=1M"],
        file: ("/kernel/security/lockdown", "none [integrity] confidentiality")),
    ]

  /// The trees of ``breaks``, and those whose damage is more than a text.
  private func brokenMachines() throws -> [(TemporaryTree, DeviceBinding)] {
    var machines: [(TemporaryTree, DeviceBinding)] = []
    for one in Self.breaks {
      let made = try machine(one.devices)
      if let file = one.file { try made.0.write(file.name, file.text + "\n") }
      machines.append(made)
    }
    let (registers, plain, silent) = try (
      machine(["nvme,cmb=1M"]), machine(["ivshmem,size=1M"]), machine(["nvme,cmb=1M"])
    )
    try registers.0.setNotPrefetchable()
    try plain.0.setNotPrefetchable()
    try silent.0.writeConfig(0, [0xff, 0xff, 0xff, 0xff])
    return machines + [registers, plain, silent]
  }

  @Test func `every genpool command in a cure of any rule is of a kind that is followed here`()
    throws
  {
    var rules: Set<String> = []
    for (tree, binding) in try brokenMachines() {
      let device = try DeviceTree(root: tree.root).device(at: tree.address)
      for bar in BAR.Index.allCases {
        let subject = try AttachRule.Subject(
          BARRequest(device: tree.address, bar: bar), of: device, in: binding.tree)
        for refusal in AttachRule.refusals(of: subject, under: AttachRule.sysfs)
          + AttachRule.refusals(of: subject, under: AttachRule.vfio)
        {
          guard refusal.cure.contains("genpoolctl") else { continue }
          rules.insert(refusal.rule)
          var rest = refusal.cure
          for verb in [
            /genpoolctl device (?:bind|release) \S+(?: --group)?(?: --driver \S+)? \(with --dry-run first\)/,
            /genpoolctl device unbind [0-9a-f:.]+/, /genpoolctl nvme show [0-9a-f:.]+/,
          ] { rest.replace(verb, with: "") }
          #expect(!rest.contains("genpoolctl"), "\(refusal.rule): \(refusal.cure)")
        }
      }
    }
    #expect(
      rules == [
        "driver-bound", "group-not-viable", "power-state", "not-vfio-pci", "registers",
        "not-prefetchable",
      ])
  }

  @Test(arguments: [0, 2] as [BAR.Index])
  func `the name in the cure of a controller's BAR is that of memory that may be attached`(
    bar: BAR.Index
  ) throws {
    let (tree, binding) = try machine(["nvme,cmb=1M"])
    if bar == 2 { try tree.setNotPrefetchable() }
    var subject = try AttachRule.Subject(
      BARRequest(device: tree.address, bar: bar), of: binding.tree.device(at: tree.address),
      in: binding.tree)
    let refusal = try #require(AttachRule.refusals(of: subject).first)
    let name = try #require(refusal.cure.firstMatch(of: /by name, (\S+:cmb) or/)?.1)
    #expect(DeviceMemoryID(String(name)) != nil)
    // The controller's registers lead to BAR 2.
    subject.request.bar = 2
    subject.request.contents = .announcedMemory
    #expect(AttachRule.refusals(of: subject).isEmpty)
  }

  @Test func `no cure is a raw write to sysfs`() throws {
    for devices in Self.driven {
      let (tree, binding) = try machine(devices)
      var cures = try refusals(tree, under: AttachRule.sysfs + AttachRule.vfio).map(\.cure)
      cures += try binding.plan(binding: tree.address).refusals.map(\.cure)
      cures += try binding.plan(unbinding: tree.address).refusals.map(\.cure)
      #expect(cures.allSatisfy { !$0.contains("echo") && !$0.contains("unbind it") }, "\(cures)")
    }
  }
}

extension TemporaryTree {
  /// Does what a kernel does when `plan` is carried out.
  fileprivate func bind(_ plan: BindingPlan) throws {
    try #require(plan.refusals.isEmpty, "\(plan.refusals)")
    for case .expect(let device, let driver) in plan.steps {
      if let driver {
        try setDriver(driver, of: device)
      } else {
        remove("/bus/pci/devices/\(device)/driver")
      }
    }
  }
}
