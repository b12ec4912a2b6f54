/// The smallest amount a pool hands out: 2^order bytes. The kernel's `min_alloc_order`.
public struct GranuleSize: Hashable, Sendable {
  /// The binary logarithm of the size, 0 … 63.
  public let order: UInt8

  /// 2^`order` bytes. Traps unless 0 ≤ `order` ≤ 63 (the kernel does not look).
  @inlinable
  public init(order: Int) {
    precondition((0...63).contains(order), "a granule is 2^0 to 2^63 bytes")
    self.order = UInt8(order)
  }

  /// `size` bytes; nil unless a power of two.
  @inlinable
  public init?(_ size: ByteCount) {
    guard size.isPowerOfTwo else { return nil }
    order = UInt8(size.rawValue.trailingZeroBitCount)
  }

  /// 4 KiB, a page of most machines.
  @inlinable public static var page: Self { Self(order: 12) }

  /// The size in bytes.
  @inlinable public var byteCount: ByteCount { ByteCount(UInt64(1) &<< UInt64(order)) }

  /// How many whole granules lie in `size` bytes. Constant time, as are the next two.
  @inlinable
  func granules(within size: ByteCount) -> GranuleCount {
    GranuleCount(Int(size.rawValue >> UInt64(order)))
  }

  /// How many granules it takes to hold `size` bytes.
  @inlinable @inline(__always)
  func granules(holding size: ByteCount) -> GranuleCount {
    let rest: UInt64 = size.rawValue & (byteCount.rawValue &- 1) == 0 ? 0 : 1
    return GranuleCount(Int(truncatingIfNeeded: size.rawValue &>> UInt64(order) &+ rest))
  }

  /// The bytes in `count` granules.
  @inlinable @inline(__always)
  func bytes(_ count: GranuleCount) -> ByteCount {
    ByteCount(UInt64(truncatingIfNeeded: count.rawValue) &<< UInt64(order))
  }
}

extension GranuleSize: CustomStringConvertible {
  /// The size for people: `4 KiB`.
  public var description: String { byteCount.description }
}
