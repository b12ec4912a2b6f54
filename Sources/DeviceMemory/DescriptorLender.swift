/// Whoever can open a range's file again for other processes, and tell when the last of them has let go.
///
/// A descriptor that was passed on cannot be taken back, and who it was passed to may fork or pass it on
/// again. But all their descriptors and mappings are of one open file description, and the kernel knows
/// when that ends.
public protocol DescriptorLender: AnyObject, Sendable {
  /// A descriptor to pass on, of an open file description of its own.
  func lend() throws(SystemError) -> Descriptor

  /// Whether a descriptor or mapping of anything lent lives, in whatever process, this one included; nil
  /// when that cannot be told. Nobody that something was lent to can make it false but by letting go.
  func isLent() -> Bool?
}
