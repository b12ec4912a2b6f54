import CGenPool
import DeviceMemory
import DeviceOpener
import PCIDevices

/// The openers of this process: one of each root, because the locks that keep other processes out
/// keep out another opener as well.
enum Openers {
  private static let openers = PerProcess<[SysfsRoot: DeviceOpener]> { [:] }

  /// Makes the table.
  static func prepare() { openers.withLock { _ in } }

  /// The opener of devices under `root`.
  static func opener(of root: SysfsRoot) -> DeviceOpener {
    openers.withLock { openers in
      if let opener = openers[root] { return opener }
      let opener = DeviceOpener(root: root) { Misuse.warning("\($0)") }
      openers[root] = opener
      return opener
    }
  }
}

/// The source that has the number `number`, a `genpool_source`.
func memorySource(_ number: UInt32) throws(DeviceError) -> MemorySource {
  switch number {
  case GENPOOL_SOURCE_SYSFS.rawValue: .sysfs
  case GENPOOL_SOURCE_VFIO.rawValue: .vfio
  default:
    throw .invalid(subject: "source \(number)", problem: "there is none of that number")
  }
}
