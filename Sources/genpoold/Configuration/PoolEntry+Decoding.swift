import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import LinuxSystem
import PCIDevices

extension PoolEntry: Decodable {
  /// Rules of the attach policy that a configuration may let be broken.
  private static func rules(of source: MemorySource) -> [String] {
    let rules =
      switch source {
      case .sysfs: AttachRule.sysfs
      case .vfio: AttachRule.vfio
      }
    return rules.filter(\.canBeAllowed).map(\.name).sorted()
  }
  private static let isolations = [Isolation.uidExclusive, .cooperative]
  private static let page = ByteCount(pageSize)

  init(from decoder: any Decoder) throws {
    let section = try ConfigurationSection(
      decoder,
      known: [
        "device", "nth", "bar", "offset", "size", "granule", "name", "isolation", "allow",
        "source", "memory", "erase", "access", "quotas",
      ])
    section.require("device")
    if !section.has("memory") { section.require("bar") }
    let choice = Self.device(of: section)
    let bar = section.value("bar", from: Int.self, else: "a BAR is a number from 0 to 5") {
      BAR.Index($0)
    }
    func size(_ key: String, _ rule: String, _ holds: (ByteCount) -> Bool) -> ByteCount? {
      guard let size = section.value(key, as: ConfiguredSize.self)?.size else { return nil }
      if !holds(size) { section.refuse(key, "\(size) is not possible; \(rule)") }
      return size
    }
    let page = Self.page
    offset =
      size("offset", "a multiple of the page size, \(page)") { $0.isMultiple(of: page) } ?? .zero
    self.size = size("size", "a multiple of the page size, \(page), and not 0") {
      $0.isMultiple(of: page) && $0 > .zero
    }
    granule = size("granule", "a power of two, at least the page size, \(page)") {
      GranuleSize($0) != nil && $0 >= page
    }
    name = section.value(
      "name", from: String.self, else: "1 to 40 printable ASCII characters without spaces"
    ) { text in
      // A search appends an address, and a pool's name has at most 64.
      let isPlain = text.unicodeScalars.allSatisfy { ("!"..."~").contains($0) }
      return isPlain && (1...40).contains(text.unicodeScalars.count) ? text : nil
    }
    isolation =
      section.value(
        "isolation", from: String.self,
        else: "there are " + Self.isolations.map(\.rawValue).joined(separator: " and ")
      ) { text in Self.isolations.first { $0.rawValue == text } } ?? .uidExclusive
    source =
      section.value(
        "source", from: String.self,
        else: "there are " + MemorySource.allCases.map(\.rawValue).joined(separator: " and ")
      ) { MemorySource(rawValue: $0) } ?? .sysfs
    allow = section.value("allow", as: [String].self) ?? []
    let rules = Self.rules(of: source)
    if let unknown = allow.first(where: { !rules.contains($0) }) {
      section.refuse(
        "allow",
        "\(quotedForLog(unknown)) is not possible; there are " + rules.joined(separator: ", "))
    }
    let memory = section.value(
      "memory", from: String.self, else: "there are cmb and pmr"
    ) { text -> DeviceMemoryID.Part? in
      switch DeviceMemoryID.Part(text) {
      case .controllerMemoryBuffer?: .controllerMemoryBuffer
      case .persistentMemoryRegion?: .persistentMemoryRegion
      case .bar?, .registers?, nil: nil
      }
    }
    erase = section.value("erase", as: Bool.self) ?? false
    let access: AccessEntry? = section.value("access")
    let quotas: PoolQuotasEntry? = section.value("quotas")
    policy = PoolPolicy(
      access: access?.access, quotas: quotas?.quotas ?? PoolPolicy.open.quotas)
    if memory != nil {
      if section.has("bar") {
        section.refuse("bar", "memory is where its registers have it", isAboutKey: true)
      }
      if memory == .persistentMemoryRegion && !erase {
        section.refuse(
          "memory", "what is in a PMR was meant to last, and pools are erased; say \"erase\": true")
      }
    }
    // Why is noted already.
    guard let choice, let part = memory ?? bar.map(DeviceMemoryID.Part.bar) else {
      throw Incomplete()
    }
    device = choice
    self.part = part
  }

  private static func device(of section: ConfigurationSection) -> DeviceChoice? {
    let nth = section.value("nth", from: Int.self, else: "1 is the first") { $0 >= 1 ? $0 : nil }
    return section.value(
      "device", from: String.self,
      else: "an address like 0000:01:00.0, or vendor:device like 1af4:1110"
    ) { text in
      if let address = PCIAddress(text) {
        if section.has("nth") {
          section.refuse("nth", "an address names one device already", isAboutKey: true)
        }
        return .address(address)
      }
      return DeviceIdentity(text).map { .search($0, nth: nth) }
    }
  }
}

/// An entry that cannot be used, for reasons that are noted already.
struct Incomplete: Error {}
