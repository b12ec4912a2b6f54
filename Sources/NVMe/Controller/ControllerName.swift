import GenPool
import Glibc
import LinuxSystem
public import PCIDevices
import SystemPackage

/// The name of a controller: its address, or the kernel's name of it or of a namespace, with or
/// without `/dev/`.
public enum ControllerName: Hashable, Sendable {
  /// `0000:01:00.0`.
  case address(PCIAddress)
  /// `nvme0`, `nvme0n1`, `nvme0c0n1`, `nvme0n1p2`, `ng0n1`: as the kernel's nvme driver has them.
  case kernel(String)

  /// Parses an address, `nvme0`, `/dev/nvme0n1` and the like, and links to those, such as the ones
  /// below `/dev/disk/by-id`. Nil for any other text.
  public init?(_ text: String) {
    if let address = PCIAddress(text) {
      self = .address(address)
      return
    }
    var name = text[...]
    if text.hasPrefix("/dev/") {
      let last = text.dropFirst(5)
      // The name is in the path but for links, which need not be looked up in an emulated tree.
      name = Self.isKernelName(last) ? last : Self.linked(text) ?? last
    }
    guard Self.isKernelName(name) else { return nil }
    self = .kernel(String(name))
  }

  /// The last component of the path that the link `path` leads to; nil when it leads nowhere.
  private static func linked(_ path: String) -> Substring? {
    guard let target = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(target) }
    return unsafe String(cString: target).split(separator: "/").last
  }

  /// Whether `name` is `nvmeN` or `ngN`, each part that follows being one of the letters c, n and p
  /// and a number.
  private static func isKernelName(_ name: Substring) -> Bool {
    var rest = name.utf8[...]
    func dropNumber() -> Bool {
      let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      rest = rest.dropFirst(digits.count)
      return (1...9).contains(digits.count)
    }
    guard let prefix = ["nvme", "ng"].first(where: { name.utf8.starts(with: $0.utf8) }) else {
      return false
    }
    rest = rest.dropFirst(prefix.utf8.count)
    guard dropNumber() else { return false }
    for letter in "cnp".utf8 where rest.first == letter {
      rest = rest.dropFirst()
      guard dropNumber() else { return false }
    }
    return rest.isEmpty
  }

  /// The address of the controller that has the name in `tree`, by the links of `class` there.
  /// - Throws: ENODEV when no controller has it, or one that is no PCI device; EINVAL when several
  ///   controllers lead to the namespace.
  public func address(in tree: DeviceTree) throws(DeviceError) -> PCIAddress {
    switch self {
    case .address(let address): return address
    case .kernel(let name):
      for directory in Self.directories(of: name) {
        let link = tree.root["class"][directory][name]
        guard let target = try link.linkTarget() else { continue }
        return try Self.address(target, of: name, in: tree)
      }
      throw Self.notFound(
        name,
        "no nvme driver under \(tree.root) calls a controller so; without a driver it is named "
          + "by its address (`genpoolctl device list`)")
    }
  }

  /// The directories of `class` that have names of that form.
  private static func directories(of name: String) -> [String] {
    if name.hasPrefix("ng") { return ["nvme-generic"] }
    return name.dropFirst(4).contains("n") ? ["block"] : ["nvme", "block"]
  }

  private static func address(
    _ target: FilePath, of name: String, in tree: DeviceTree
  ) throws(DeviceError) -> PCIAddress {
    let components = target.components.map(\.string)
    // The last one: bridges are above it.
    if let address = components.compactMap({ PCIAddress($0) }).last { return address }
    // With multipath a namespace lies below its subsystem, which has links to its controllers.
    guard
      let subsystem = components.first(where: {
        $0.hasPrefix("nvme-subsys") && $0 != "nvme-subsystem"
      })
    else { throw notFound(name, "it is no PCI device: \(quoted(target.string))") }
    let directory = tree.root["class/nvme-subsystem"][subsystem]
    var controllers: [(name: String, address: PCIAddress)] = []
    for entry in try directory.exists() ? directory.entries() : []
    where entry.hasPrefix("nvme") && entry.dropFirst(4).allSatisfy(\.isNumber) {
      guard let link = try directory[entry].linkTarget(),
        let address = link.components.compactMap({ PCIAddress($0.string) }).last
      else { continue }
      controllers.append((entry, address))
    }
    guard let first = controllers.first else {
      throw notFound(name, "no controller of its subsystem \(subsystem) is a PCI device")
    }
    guard controllers.count == 1 else {
      throw .system(
        SystemError(
          operation: "find", subject: name, errno: .invalidArgument,
          cause: "several controllers lead to it: "
            + controllers.map { "\($0.name) (\($0.address))" }.joined(separator: ", ")))
    }
    return first.address
  }

  private static func notFound(_ name: String, _ cause: String) -> DeviceError {
    .system(
      SystemError(operation: "find", subject: name, errno: Errno(rawValue: ENODEV), cause: cause))
  }
}
