import DeviceMemory
import GenPool
import PCIDevices

/// A device's uses, and the sources by which its memory could be attached, or the rule that forbids
/// it: what `device list` has in two columns and `doctor` counts.
struct DeviceVerdict: Hashable {
  /// The device's address.
  let device: PCIAddress
  /// The uses that the running system has for it, as far as they show.
  let uses: [String]
  /// The sources that would open a memory BAR of it as it is bound now; empty when none would.
  let sources: [MemorySource]
  /// The BAR that ``sources`` would open: the largest.
  let bar: BAR?
  /// The first rule that forbids it; nil when a source is there, and for a device without memory.
  let rule: String?

  /// The verdict on `device`. O(memory BARs × (members of its IOMMU group + BARs of all devices)).
  init(on device: Device, lockdown: Lockdown, uses: DeviceUses, places: [BARPlace]) {
    self.device = device.address
    self.uses = device.driver == nil ? [] : uses[device.address].map(\.description)
    // The largest is what is wanted, a controller's registers the least.
    let candidates = device.bars.filter { $0.kind == .memory }.sorted { one, other in
      (one.isPrefetchable ? 1 : 0, one.size) > (other.isPrefetchable ? 1 : 0, other.size)
    }
    var first: String?
    for bar in candidates {
      let subject = AttachRule.Subject(
        BARRequest(device: device.address, bar: bar.index), of: device, lockdown: lockdown,
        uses: uses, places: places)
      var found: [MemorySource] = []
      for (source, rules) in Self.tables {
        // VFIO's table names vfio-pci's absence, which is no obstacle to sysfs.
        let rule = AttachRule.firstRefusing(subject, under: rules)
        if rule == nil { found.append(source) }
        if source == .sysfs { first = first ?? rule }
      }
      guard found.isEmpty else {
        sources = found
        self.bar = bar
        rule = nil
        return
      }
    }
    sources = []
    bar = nil
    rule = first
  }

  /// The sources and their rules, the safer one first.
  private static let tables: [(MemorySource, [AttachRule])] = [
    (.vfio, AttachRule.vfio), (.sysfs, AttachRule.sysfs),
  ]

  /// `sysfs`, `vfio,sysfs`, the name of the rule, or `no-memory`.
  var text: String {
    guard sources.isEmpty else { return sources.map(\.rawValue).joined(separator: ",") }
    return rule ?? Self.noMemory
  }

  /// The verdict on a device that has no memory BAR. No rule's name.
  static let noMemory = "no-memory"

  /// The specification of ``bar`` for `pool attach`; nil where nothing attaches it.
  var specification: String? {
    guard let bar, let source = sources.first else { return nil }
    return "\(device):\(bar.index)" + (source == .sysfs ? "" : ",source=\(source.rawValue)")
  }

  /// The command that attaches ``bar``; nil where none does.
  var command: String? { specification.map { "genpoolctl pool attach \($0)" } }
}

extension DeviceVerdict: Encodable {
  private enum CodingKeys: CodingKey { case attachable, sources, rule, bar }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(!sources.isEmpty, forKey: .attachable)
    try container.encode(sources.map(\.rawValue), forKey: .sources)
    try container.encodeIfPresent(bar?.index.rawValue, forKey: .bar)
    try container.encodeIfPresent(
      rule ?? (sources.isEmpty ? Self.noMemory : nil), forKey: .rule)
  }
}
