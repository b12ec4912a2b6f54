/// A non-empty run of addresses in one space, `[first, last]`, both included as in sysfs and
/// /proc/iomem, so that a range may end at the top of the space.
public struct AddressRange<Space: AddressSpace>: Hashable, Sendable {
  /// The lowest address.
  public let first: Address<Space>
  /// The highest address, part of the range.
  public let last: Address<Space>

  /// `[first, last]`, or nil when `last` is lower.
  @inlinable
  public init?(first: Address<Space>, last: Address<Space>) {
    guard first <= last else { return nil }
    self.first = first
    self.last = last
  }

  /// `size` bytes from `start` on; nil when `size` is 0 or the range would pass 2^64 − 1.
  @inlinable
  public init?(start: Address<Space>, size: ByteCount) {
    guard size > .zero, let last = start.advanced(by: size - 1) else { return nil }
    first = start
    self.last = last
  }

  /// The length in bytes. Traps for the one range of 2^64 bytes.
  @inlinable
  public var size: ByteCount { last - first + 1 }

  /// Whether `address` lies inside.
  @inlinable
  public func contains(_ address: Address<Space>) -> Bool { first <= address && address <= last }

  /// Whether `other` lies wholly inside.
  @inlinable
  public func contains(_ other: Self) -> Bool { first <= other.first && other.last <= last }

  /// Whether any address lies in both.
  @inlinable
  public func overlaps(_ other: Self) -> Bool { first <= other.last && other.first <= last }
}

extension AddressRange: CustomStringConvertible {
  /// `0x…-0x…`, both ends included.
  public var description: String { "\(first)-\(last)" }
}
