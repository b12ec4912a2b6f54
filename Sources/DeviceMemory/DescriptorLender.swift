public import LinuxSystem

/// Opens a range's file again for other processes, and asks the kernel whether what it opened still
/// reaches the memory.
///
/// A descriptor that was passed on cannot be taken back, and its receiver may fork or pass it on
/// again. But all their descriptors and mappings are of one open file description, and the kernel
/// knows when that ends.
public protocol DescriptorLender: AnyObject, Sendable {
  /// A descriptor to pass on, of an open file description of its own.
  func lend() throws(SystemError) -> Descriptor

  /// Whether a descriptor or mapping of anything lent lives, in any process, this one included. No
  /// process that something was lent to can make it ``WitnessAnswer/free`` but by letting go.
  func witness() -> WitnessAnswer
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
  /// A file lease (fcntl(2), `F_SETLEASE`) answers at any time: it is granted only while no other
  /// open file description of the file is left. sysfs before Linux 7.0; tmpfs, ext4, xfs, btrfs.
  case fileLease = "file-lease"
  /// Opening the device anew answers, which takes closing it before: the kernel refuses to open a
  /// VFIO group (EBUSY) while a descriptor or mapping of it is left.
  case reopening = "reopening"
  /// Nothing answers. sysfs since Linux 7.0, overlayfs.
  case none = "none"
}
