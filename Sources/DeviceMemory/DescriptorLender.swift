public import GenPool
public import LinuxSystem

/// Opens a range's file again for other processes, and asks the kernel whether what it opened still
/// reaches the memory.
///
/// A descriptor that was passed on cannot be taken back, and its receiver may fork or pass it on
/// again. But all their descriptors and mappings are of one open file description, and the kernel
/// knows when that ends.
public protocol DescriptorLender: AnyObject, Sendable {
  /// Returns a descriptor to pass on, of an open file description of its own.
  /// - Parameter lending: its purpose. Several descriptors may be lent for the same.
  func lend(for lending: Lending) throws(SystemError) -> Descriptor

  /// Whether a descriptor or mapping of anything lent lives, in any process, this one included. No
  /// process that something was lent to can make it ``WitnessAnswer/free`` but by letting go.
  func witness() -> WitnessAnswer

  /// The same for what was lent for `lending` alone; ``WitnessAnswer/unknown`` where the kernel
  /// does not tell one lending from another: see ``Witness/perLease``.
  func witness(of lending: Lending) -> WitnessAnswer

  /// Whether the memory still lies where it did when it was opened, behind the same file.
  func presence() -> RangePresence

  /// Forgets a lending for which ``witness(of:)`` is ``WitnessAnswer/free``.
  func forget(_ lending: Lending)

  /// Puts the file that is lent back to its length, if it is a regular one that a holder has made
  /// shorter. The part that was cut off reads as zeroes then.
  /// - Returns: the file's state until then.
  func restoreLength() throws(SystemError) -> FileLength
}

extension DescriptorLender {
  public func witness(of lending: Lending) -> WitnessAnswer { .unknown }
  public func forget(_ lending: Lending) {}
  public func presence() -> RangePresence { .inPlace }
  public func restoreLength() throws(SystemError) -> FileLength { .notApplicable }
}

/// Whether memory that was opened is still what its addresses and its file lead to.
public enum RangePresence: Hashable, Sendable, CaseIterable {
  /// Nothing has changed, as far as it can be found out.
  case inPlace
  /// The BAR lies elsewhere, or has another size.
  case moved
  /// The BAR lies where it did, but the kernel has made its file anew, and with the old one ended
  /// all mappings of it: another BAR of the device was resized. Linux: `pci_resize_resource`.
  case fileReplaced
  /// The device was removed.
  case gone
}

/// The length of the regular file that emulates a device's memory. Each holder of a descriptor can
/// change it: ftruncate(2) takes no more than a descriptor that is open for writing.
public enum FileLength: Hashable, Sendable {
  /// The memory is a device's, or its emulated device was removed.
  case notApplicable
  /// The file is as long as it was when it was opened.
  case intact
  /// The file was shorter: it had this length.
  case truncated(to: ByteCount)
}

/// A purpose that descriptors are lent for: one lease of one range.
public struct Lending: RawRepresentable, Hashable, Sendable {
  /// Unique among those of a range.
  public let rawValue: UInt64

  public init(rawValue: UInt64) {
    self.rawValue = rawValue
  }
}

/// The answer to: can anything that was handed out of some memory still reach it?
public enum WitnessAnswer: String, Hashable, Sendable, CaseIterable {
  /// The kernel sees nothing that reaches it.
  case free = "free"
  /// The kernel sees something that reaches it.
  case reached = "reached"
  /// The kernel cannot answer, or answered with an error. Counts as reached.
  case unknown = "unknown"

  /// The answer for memory that is reached by either of two ways.
  public func joined(with other: Self) -> Self {
    if self == .reached || other == .reached { return .reached }
    return self == .free && other == .free ? .free : .unknown
  }
}

/// The kernel's means to tell whether handed out memory is still reached.
public enum Witness: String, Hashable, Sendable, CaseIterable {
  /// epoll(7) answers at any time, for each lease apart: it watches the open file description that
  /// a lease was given without keeping it, and drops it with the last descriptor, message in flight
  /// or mapping of it. sysfs, on every kernel.
  case perLease = "per-lease"
  /// A file lease (fcntl(2), `F_SETLEASE`) answers at any time: it is granted only while no other
  /// open file description of the file is left. Emulated devices on tmpfs, ext4, xfs, btrfs.
  case fileLease = "file-lease"
  /// Opening the device anew answers, which takes closing it before: the kernel refuses to open a
  /// VFIO group (EBUSY) while a descriptor or mapping of it is left.
  case reopening = "reopening"
  /// Nothing answers. Emulated devices on other file systems, such as overlayfs.
  case none = "none"
}
