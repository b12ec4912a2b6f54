import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import PCIDevices

/// A pool, or with a search several, that the configuration wants.
struct PoolEntry: Hashable {
  var device: DeviceChoice
  /// Which of its memories.
  var part: DeviceMemoryID.Part
  /// Whether what was meant to last may be lost.
  var erase = false
  var offset: ByteCount = .zero
  var size: ByteCount?
  var granule: ByteCount?
  var name: String?
  var isolation = Isolation.uidExclusive
  var allow: [String] = []
  var source = MemorySource.sysfs
  /// The users that may lease of it, and the limits of each.
  var policy = PoolPolicy.open

  /// How the device is named.
  enum DeviceChoice: Hashable {
    case address(PCIAddress)
    /// All devices with these ids, or the `nth` of them by address, counted from 1.
    case search(DeviceIdentity, nth: Int?)
  }
}

/// One pool that is wanted, of a device that is there.
struct WantedPool: Hashable {
  let name: String
  let memory: DeviceMemoryID
  let parameters: Broker1.Attach.Parameters
  let isolation: Isolation
  /// Whether a search chose the device: storage and network controllers are then refused.
  let isSearched: Bool
  /// The users that may lease of it, and the limits of each. No part of its identity: a pool that
  /// is attached gets another one as it is.
  let policy: PoolPolicy

  static func == (left: Self, right: Self) -> Bool {
    left.name == right.name && left.isolation == right.isolation
      && left.isSearched == right.isSearched && left.fields == right.fields
  }

  func hash(into hasher: inout Hasher) {
    hasher.combine(name)
  }

  /// The memory of which there is one pool at a time.
  var place: DeviceMemoryID { DeviceMemoryID(device: memory.device, part: memory.part) }

  private var fields: [String] {
    [
      "\(memory)", "\(parameters.granule?.description ?? "")", "\(parameters.source ?? "")",
    ] + (parameters.allow ?? [])
  }
}

extension PoolEntry {
  /// What it means on a machine with `devices`; empty when none of them is meant.
  ///
  /// A search without `nth` makes a pool of every device it finds. A name is then followed by each
  /// one's address, so that a pool keeps its name when another device comes or goes.
  func wanted(among devices: [Broker1.Device]) -> [WantedPool] {
    let found: [PCIAddress]
    let isSearched: Bool
    var suffixes = false
    switch device {
    case .address(let address):
      // That it is missing is the provider's to say, but not every few seconds.
      found = devices.contains { $0.address == address.description } ? [address] : []
      isSearched = false
    case .search(let identity, let nth):
      let all = devices.filter {
        $0.vendorID == identity.vendor && $0.deviceID == identity.device
      }.compactMap { PCIAddress($0.address) }.sorted()
      found = nth.map { Array(all.dropFirst($0 - 1).prefix(1)) } ?? all
      suffixes = nth == nil
      isSearched = true
    }
    return found.map { address in
      let name = name.map { suffixes ? "\($0)/\(address)" : $0 } ?? "\(address)/\(part)"
      let memory = DeviceMemoryID(device: address, part: part, offset: offset, size: size)
      return WantedPool(
        name: name, memory: memory,
        parameters: Broker1.Attach.Parameters(
          memory, erase: erase, granule: granule, name: name, allow: allow,
          source: source.rawValue),
        isolation: isolation, isSearched: isSearched, policy: policy)
    }
  }
}

extension PoolEntry: CustomStringConvertible {
  /// `BAR 2 of 0000:01:00.0`, `BAR 2 of every 1af4:1110`.
  var description: String {
    switch device {
    case .address(let address): "\(what) of \(address)"
    case .search(let identity, nil): "\(what) of every \(identity)"
    case .search(let identity, let nth?): "\(what) of \(identity) number \(nth)"
    }
  }
}

extension PoolEntry {
  /// Each key, with its value in words, for the log.
  private var keys: [(key: String, value: String)] {
    [
      ("device", description), ("offset", "\(offset)"), ("size", size?.description ?? "all"),
      ("granule", granule?.description ?? "default"), ("name", name ?? "none"),
      ("isolation", isolation.rawValue),
      ("allow", allow.isEmpty ? "none" : allow.joined(separator: "+")),
      ("source", source.rawValue), ("erase", "\(erase)"),
      ("access", policy.access.map(\.summary) ?? "all users"),
      ("quotas", policy.quotas.summary),
    ]
  }

  /// The keys that differ from those of `old`: `size 4 MiB -> 1 MiB, granule default -> 64 KiB`.
  func differences(from old: PoolEntry) -> String {
    zip(old.keys, keys).compactMap { before, now in
      before.value == now.value ? nil : "\(now.key) \(before.value) -> \(now.value)"
    }.joined(separator: ", ")
  }
}

extension PoolEntry {
  /// What the log calls it: its name, else what it is made of.
  var title: String { name ?? description }

  /// The part in a sentence: `BAR 2`, `CMB`.
  private var what: String {
    if case .bar(let index) = part { "BAR \(index)" } else { "\(part)".uppercased() }
  }
}
