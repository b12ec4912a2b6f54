import GenPool
import LinuxSystem

/// A part of a BAR that holds registers, as a capability of the device says. Memory beside it may
/// share the BAR, but not its pages.
public struct RegisterBlock: Hashable, Sendable {
  /// The registers' name: `MSI-X table`.
  public let name: String
  /// The BAR that they are in.
  public let bar: BAR.Index
  /// The place, in bytes from the BAR's start.
  let range: Range<UInt64>

  /// Whether some page has both a byte of this and one of `part`, in bytes of the BAR.
  func sharesPage(with part: Range<UInt64>) -> Bool {
    !part.isEmpty && pages.overlaps(part)
  }

  /// The pages that it touches, in bytes from the BAR's start.
  var pages: Range<UInt64> {
    let page = UInt64(pageSize)
    // Both are below 2^63: nothing overflows.
    return range.lowerBound / page * page..<(range.upperBound + page - 1) / page * page
  }
}

extension RegisterBlock: CustomStringConvertible {
  /// `MSI-X table at 0x2000-0x20ff of BAR 4`.
  public var description: String {
    "\(name) at 0x\(hexadecimal(range.lowerBound, digits: 4))"
      + "-0x\(hexadecimal(range.upperBound - 1, digits: 4)) of BAR \(bar)"
  }
}
