import ArgumentParser
import BrokerProtocol
import DeviceMemory
import DeviceSources
import GenPool
import PCIDevices
import SystemPackage

/// `genpoolctl device show BDF`
struct DeviceShow: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Shows one device, and whether its memory could be attached.",
    discussion: """
      For each memory BAR it says which attach rules refuse it, why, and what helps, or, when a daemon \
      answers, which pool it is. Rules are those of sysfs, of a device that is bound to a driver of VFIO those of \
      VFIO; a BAR that VFIO would open is named. Nothing is opened or changed. With --json, "refusals" has an \
      entry for each memory BAR, with the rules of sysfs in "refusals" and those of VFIO in "vfioRefusals".

      EXAMPLE
        genpoolctl device show 01:00.0
      """)

  @Argument(
    help: "The device's address, like 0000:01:00.0 or 01:00.0.",
    transform: PCIAddress.parseArgument)
  var address: PCIAddress

  @OptionGroup var output: OutputOptions

  func run() throws {
    let tree = DeviceTree()
    // The places of all BARs are looked at twice.
    try tree.readingSharedOnce { try show(tree) }
  }

  private func show(_ tree: DeviceTree) throws {
    let device = try tree.device(at: address)
    var subject = try AttachRule.Subject(
      BARRequest(device: address, bar: 0), of: device, in: tree)
    var verdicts: [Verdict] = []
    for bar in device.bars where bar.kind == .memory {
      subject.request.bar = bar.index
      verdicts.append(
        Verdict(
          bar: bar, refusals: AttachRule.refusals(of: subject),
          vfioRefusals: AttachRule.refusals(of: subject, under: AttachRule.vfio)))
    }
    let names = DeviceNames()
    guard let verdict = try DeviceList.verdicts(on: [device], in: tree).first else { return }
    try output.write(
      Document(
        device: DeviceDocument(device, names, verdict: verdict), refusals: verdicts,
        isolation: device.witness),
      text: Self.text(of: device, verdict, verdicts, AttachedPools(of: address), names))
    if !device.problems.isEmpty { throw ExitCode(1) }
  }

  /// The attach rules' verdict on a BAR.
  struct Verdict {
    let bar: BAR
    /// Through sysfs.
    let refusals: [AttachRule.Refusal]
    let vfioRefusals: [AttachRule.Refusal]
  }

  /// The device's own fields, and `refusals`.
  private struct Document: Encodable {
    let device: DeviceDocument
    let refusals: [Verdict]
    /// By what it is opened, and what tells then whether its memory is still reached.
    let isolation: (source: MemorySource, witness: Witness)

    enum CodingKeys: CodingKey { case refusals, source, witness }

    func encode(to encoder: any Encoder) throws {
      try device.encode(to: encoder)
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(isolation.source.rawValue, forKey: .source)
      try container.encode(isolation.witness.rawValue, forKey: .witness)
      try container.encode(refusals, forKey: .refusals)
    }
  }

  static func text(
    of device: Device, _ verdict: DeviceVerdict, _ verdicts: [Verdict], _ pools: AttachedPools,
    _ names: borrowing DeviceNames
  ) -> String {
    var sheet = FactSheet()
    sheet.add("device", device.address.description)
    sheet.add(
      "used", verdict.uses.isEmpty ? nil : verdict.uses.joined(separator: ", "), isProse: true)
    sheet.add("name", names.name(of: device)?.cut(to: 66))
    sheet.add(
      "class", device.classCode.description + (names.className(of: device).map { " \($0)" } ?? ""))
    sheet.add("ids", "\(device.identity)" + (device.subsystem.map { ", board \($0)" } ?? ""))
    sheet.add("driver", device.driver ?? "none")
    sheet.add(
      "memory",
      device.isVirtualFunction
        ? "on, as long as its physical function has virtual ones"
        : device.isMemoryEnabled ? "on" : "off; attaching switches it on")
    sheet.add("power", device.powerState?.rawValue)
    sheet.add("IOMMU group", device.iommuGroup.map { String($0.number) })
    sheet.add("NUMA node", device.numaNode.map { String($0.rawValue) })
    sheet.add("slot", device.hotplugSlot.map { "hot-plug slot \($0)" })
    let witness = device.witness
    sheet.add(
      "isolation",
      "through \(witness.source.rawValue) one user at a time; the next \(witness.witness.handover)",
      isProse: true)
    for problem in device.problems { sheet.add("not known", problem.description, isProse: true) }
    var text = sheet.text
    if device.bars.isEmpty { text += "\nThe device has no BARs, and so no memory to attach.\n" }
    for bar in device.bars {
      text += "\n\(bar)  \(bar.size)\n"
      if bar.kind == .io {
        text += "  I/O ports, without an address in memory: cannot be attached\n"
      }
      if let bus = bar.differingBus { text += "  bus \(bus)\n" }
      guard let verdict = verdicts.first(where: { $0.bar == bar }) else { continue }
      if let pool = pools.verdict(on: bar.index) {
        text += "  \(pool)\n"
        continue
      }
      if verdict.refusals.isEmpty { text += advice(on: bar, of: device) }
      // A device that is VFIO's is judged by its rules, others by those of sysfs; the other source
      // is named where it would open the BAR.
      let isVFIOs = device.isVFIOs && !verdict.refusals.isEmpty
      if verdict.vfioRefusals.isEmpty {
        text +=
          "  through VFIO: genpoolctl pool attach \(device.address):\(bar.index),"
          + "source=vfio\n"
      }
      if isVFIOs, verdict.vfioRefusals.isEmpty { continue }
      for refusal in isVFIOs ? verdict.vfioRefusals : verdict.refusals {
        let source = isVFIOs ? " through VFIO" : ""
        text += "refused\(source) by \(refusal.rule): \(refusal.cause)".wrapped(indent: "  ") + "\n"
        text += "cure: \(refusal.cure)".wrapped(indent: "    ") + "\n"
      }
    }
    return text
  }
}

extension DeviceShow {
  /// The command that attaches a BAR. An NVMe controller's own memory is enabled when it is
  /// attached as what it is, and not by its BAR's number.
  private static func advice(on bar: BAR, of device: Device) -> String {
    let command = "  can be attached: genpoolctl pool attach \(device.address)"
    guard device.classCode == .nvme else { return command + ":\(bar.index)\n" }
    return command + ":cmb\n"
      + """
      if the controller memory buffer lies here, as \(device.address):pmr,erase=yes if the persistent \
      memory region does, else by its number: genpoolctl nvme show \(device.address)
      """.wrapped(indent: "    ") + "\n"
  }
}

extension Device {
  /// By what its memory would be opened as it is bound now, and what tells then whether it is still
  /// reached.
  fileprivate var witness: (source: MemorySource, witness: Witness) {
    isVFIOs
      ? (.vfio, .reopening) : (.sysfs, SysfsSource.witness(of: self))
  }
}

extension DeviceShow.Verdict: Encodable {
  private enum CodingKeys: CodingKey { case bar, refusals, vfioRefusals }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(bar.index.rawValue, forKey: .bar)
    func documents(_ refusals: [AttachRule.Refusal]) -> [Broker1.Refusal] {
      refusals.map {
        Broker1.Refusal(rule: $0.rule, subject: $0.subject, cause: $0.cause, cure: $0.cure)
      }
    }
    try container.encode(documents(refusals), forKey: .refusals)
    try container.encode(documents(vfioRefusals), forKey: .vfioRefusals)
  }
}
