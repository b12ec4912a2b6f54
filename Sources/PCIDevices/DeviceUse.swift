import GenPool
import SystemPackage

/// What of the running system hangs on a device, and would fail if its driver were taken away.
public enum DeviceUse: Hashable, Sendable {
  /// A file system of block device `name` is mounted.
  case mounted(name: String, at: String)
  /// Block device `name` is swapped to.
  case swap(name: String)
  /// Other block devices or file systems are made of block device `name`.
  case held(name: String, by: [String])
  /// Somebody has block device `name` for himself, and nothing else says who.
  case claimed(name: String)
  /// Whether somebody has block device `name` for himself cannot be told.
  case undecided(name: String, because: String)
  /// Network interface `name` is up.
  case network(name: String)

  /// What hangs on the device at `address`. Empty is not a promise: what has a character device
  /// open, or shares a block device with everyone (a program that reads it, nvmet), does not show.
  /// On a kernel's own sysfs each block device is opened for a moment; an emulated tree has none to
  /// open.
  package static func all(
    of address: PCIAddress, under root: SysfsRoot
  ) throws(DeviceError) -> [DeviceUse] {
    let names = try blockDevices(of: address, under: root)
    let uses = try blockUses(of: names, under: root)
    return try uses
      + claims(among: names, used: Set(uses.compactMap(\.blockDevice)), under: root)
      + networkUses(of: address, under: root)
  }

  /// The uses of the device at `address` that sysfs and proc show: those of `all(of:under:)`
  /// without the claims. Opens no block device, which would claim it for that moment and make a
  /// mount fail.
  package static func shown(
    of address: PCIAddress, under root: SysfsRoot
  ) throws(DeviceError) -> [DeviceUse] {
    try blockUses(of: blockDevices(of: address, under: root), under: root)
      + networkUses(of: address, under: root)
  }

  // MARK: Block devices

  /// The block device that is used; nil for a network interface.
  private var blockDevice: String? {
    switch self {
    case .mounted(let name, _), .swap(let name), .held(let name, _), .claimed(let name),
      .undecided(let name, _):
      name
    case .network: nil
    }
  }

  private static func blockUses(
    of names: [String], under root: SysfsRoot
  ) throws(DeviceError) -> [DeviceUse] {
    guard !names.isEmpty else { return [] }
    return try blockUses(
      of: names, mounts: Mount.all(under: root), swaps: swaps(under: root), under: root)
  }

  /// The uses of block devices `names` among `mounts` and `swaps`, and by what is made of them.
  static func blockUses(
    of names: [String], mounts: [Mount], swaps: Set<String>, under root: SysfsRoot
  ) throws(DeviceError) -> [DeviceUse] {
    var uses: [DeviceUse] = []
    for name in names {
      let node = root["class/block"][name]
      let number = try node["dev"].optionalAttribute()?.lines.first
      for mount in mounts where mount.device == number || mount.source == "/dev/\(name)" {
        uses.append(.mounted(name: name, at: mount.place))
      }
      if swaps.contains("/dev/\(name)") { uses.append(.swap(name: name)) }
      var holders = try node["holders"].exists() ? node["holders"].entries() : []
      holders += try multiDeviceFileSystems(with: name, under: root)
      if !holders.isEmpty { uses.append(.held(name: name, by: holders)) }
    }
    return uses
  }

  /// The names of the device's disks and partitions.
  private static func blockDevices(
    of address: PCIAddress, under root: SysfsRoot
  ) throws(DeviceError) -> [String] {
    let all = root["class/block"]
    guard try all.exists() else { return [] }
    let subsystems = try nvmeSubsystems(of: address, under: root)
    var found: [String] = []
    for name in try all.entries() {
      let components = try all[name].linkTarget()?.components.map(\.string) ?? []
      if components.contains(where: { $0 == address.description || subsystems.contains($0) }) {
        found.append(name)
      }
    }
    return found
  }

  /// NVMe namespaces with several paths hang on a subsystem, not on one of its controllers.
  private static func nvmeSubsystems(
    of address: PCIAddress, under root: SysfsRoot
  ) throws(DeviceError) -> Set<String> {
    let all = root["class/nvme-subsystem"]
    guard try all.exists() else { return [] }
    var found: Set<String> = []
    for name in try all.entries() {
      for entry in try all[name].entries() where entry.hasPrefix("nvme") {
        // A path's own disk is a directory here, a controller a link.
        guard let target = try? all[name][entry].linkTarget() else { continue }
        if target.components.contains(where: { $0.string == address.description }) {
          found.insert(name)
        }
      }
    }
    return found
  }

  /// btrfs says in /proc/self/mountinfo only one of the devices that it is made of.
  private static func multiDeviceFileSystems(
    with name: String, under root: SysfsRoot
  ) throws(DeviceError) -> [String] {
    let all = root["fs/btrfs"]
    guard try all.exists() else { return [] }
    var found: [String] = []
    for id in try all.entries() where try all[id]["devices"][name].exists() {
      found.append("btrfs \(id)")
    }
    return found
  }

  /// One line of mountinfo: proc(5).
  struct Mount {
    /// `major:minor`.
    let device: String
    let place: String
    let source: String

    static func all(under root: SysfsRoot) throws(DeviceError) -> [Mount] {
      try lines(of: "self/mountinfo", under: root).compactMap { line in
        let fields = line.split(separator: " ")
        guard fields.count > 6, let separator = fields.lastIndex(of: "-"),
          fields.count > separator + 2
        else { return nil }
        return Mount(
          device: String(fields[2]), place: String(fields[4]), source: String(fields[separator + 2])
        )
      }
    }
  }

  static func swaps(under root: SysfsRoot) throws(DeviceError) -> Set<String> {
    Set(
      try lines(of: "swaps", under: root).dropFirst().compactMap { line in
        line.split(separator: " ").first.map { String($0) }
      })
  }

  /// The lines of a file of proc; an emulated tree may have one of its own, below its root.
  private static func lines(
    of file: String, under root: SysfsRoot
  ) throws(DeviceError) -> [Substring] {
    let own = root["proc"]
    let node = try own.exists() ? own[file] : SysfsNode(path: "/proc/" + file)
    let bytes = try node.bytes(limit: 1 << 22)
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n")
  }

  // MARK: Network interfaces

  private static func networkUses(
    of address: PCIAddress, under root: SysfsRoot
  ) throws(DeviceError) -> [DeviceUse] {
    let all = root["class/net"]
    guard try all.exists() else { return [] }
    var uses: [DeviceUse] = []
    for name in try all.entries() {
      // bonding_masters is a file.
      guard let target = try? all[name].linkTarget(),
        target.components.contains(where: { $0.string == address.description })
      else { continue }
      if try isUp(all[name]) { uses.append(.network(name: name)) }
    }
    return uses
  }

  /// Whether network interface `node` is up: IFF_UP of its flags.
  static func isUp(_ node: SysfsNode) throws(DeviceError) -> Bool {
    try node["flags"].attribute().value("flags") { parseHexadecimal($0) } & 1 != 0
  }
}

extension DeviceUse: CustomStringConvertible {
  /// `nvme0n1p1 mounted on /srv`, short enough for a column.
  public var description: String {
    switch self {
    case .mounted(let name, let place): "\(name) mounted on \(place)"
    case .swap(let name): "\(name) swap"
    case .held(let name, let holders): "\(name) part of \(holders.joined(separator: ", "))"
    case .claimed(let name):
      "\(name) opened exclusively: mounted in another mount namespace, a journal, or part of a "
        + "storage pool or target"
    case .undecided(let name, let cause): "whether \(name) is in use cannot be told: \(cause)"
    case .network(let name): "\(name) up"
    }
  }

  /// The running system is on the device: a use that cannot be ended.
  var isOfRoot: Bool {
    if case .mounted(_, at: "/") = self { true } else { false }
  }

  /// What would end the use.
  var cure: String {
    switch self {
    case .mounted(_, at: "/"): "choose another device: the running system is on it"
    case .mounted(_, let place): "umount \(place)"
    case .swap(let name): "swapoff /dev/\(name)"
    case .held(let name, let holders): "take \(name) out of \(holders.joined(separator: ", "))"
    case .claimed:
      "find the process that has it (lsns -t mnt, zpool status, targetcli ls), and end that"
    case .undecided: "be root, where the machine's /dev is"
    case .network(let name): "ip link set \(name) down"
    }
  }
}
