import Glibc
public import SystemPackage

/// The directory that stands for `/sys`: the real one, or an emulated tree.
public struct SysfsRoot: Hashable, Sendable, CustomStringConvertible {
  /// Where it is.
  public let path: FilePath

  /// The tree at `path`. Reads nothing yet.
  public init(_ path: FilePath) {
    self.path = path
  }

  /// `$GENPOOL_SYSFS_ROOT`, else `/sys`.
  public static var standard: Self {
    guard let value = unsafe getenv("GENPOOL_SYSFS_ROOT") else { return Self("/sys") }
    let path = unsafe String(cString: value)
    return Self(path.isEmpty ? "/sys" : FilePath(path))
  }

  public var description: String { path.string }

  /// A file or directory below the root.
  package subscript(_ relative: String) -> SysfsNode {
    SysfsNode(path: path.string + "/" + relative)
  }
}
