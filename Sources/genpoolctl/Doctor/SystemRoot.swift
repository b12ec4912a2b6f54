import PCIDevices
import SystemPackage

/// A machine as files show it: its `/sys`, and the directory that its `/proc`, `/boot`, `/dev`,
/// `/etc`, `/lib` and `/run` are in. Another machine's can be looked at that was copied, or made up
/// by a test.
struct SystemRoot: Sendable {
  /// Its `/sys`, or an emulated tree.
  let sysfs: SysfsRoot
  /// The directory of all else; empty for `/`.
  private let base: String

  /// This machine's; `$GENPOOL_SYSFS_ROOT` stands for `/sys`.
  static var standard: Self { Self(sysfs: .standard, base: "") }

  /// The machine whose `/` is `directory`.
  init(_ directory: FilePath) {
    self.init(sysfs: SysfsRoot(directory.appending("sys")), base: directory.string)
  }

  /// The machine at `base` with another `/sys`.
  init(sysfs: SysfsRoot, base: String) {
    self.sysfs = sysfs
    self.base = base
  }

  /// The file or directory at `path`, which begins with a slash.
  subscript(_ path: String) -> SysfsNode { SysfsNode(path: base + path) }

  /// Whether the devices are those of an emulated tree, with which the kernel has nothing to do.
  var isEmulated: Bool {
    base.isEmpty ? !sysfs.isMachines : sysfs.path.string != base + "/sys"
  }

  /// Whether it is the machine that this process runs on.
  var isThisMachine: Bool { base.isEmpty }

  /// The text of the file at `path`, at most `limit` bytes of it. Those of `/proc/sys` answer no
  /// larger request than the kernel has pages in one piece for.
  func text(_ path: String, limit: Int = 1 << 20) -> Fact<String> {
    do throws(DeviceError) {
      return .known(String(decoding: try self[path].bytes(limit: limit), as: UTF8.self))
    } catch {
      return .unknown(error.description)
    }
  }

  /// Whether something is at `path`.
  func exists(_ path: String) -> Fact<Bool> {
    do throws(DeviceError) {
      return .known(try self[path].exists())
    } catch {
      return .unknown(error.description)
    }
  }
}

/// A fact about a machine, or the reason why it could not be found out.
enum Fact<Value: Sendable>: Sendable {
  case known(Value)
  case unknown(String)

  /// The value; nil when it is not known.
  var value: Value? {
    if case .known(let value) = self { value } else { nil }
  }

  /// The reason for which it is not known; nil when it is.
  var obstacle: String? {
    if case .unknown(let cause) = self { cause } else { nil }
  }

  /// The fact that `transform` makes of the value.
  func map<Other: Sendable>(_ transform: (Value) -> Other) -> Fact<Other> {
    switch self {
    case .known(let value): .known(transform(value))
    case .unknown(let cause): .unknown(cause)
    }
  }
}

extension Fact: Equatable where Value: Equatable {}
