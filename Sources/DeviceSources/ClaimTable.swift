import GenPool
import PCIDevices

/// The ranges of a device's BARs that a source has handed out.
///
/// Invariant: the ranges of a BAR are disjoint.
struct ClaimTable: Sendable {
  /// In bytes from each BAR's start; no entry is empty.
  private var ranges: [BAR.Index: [ClosedRange<UInt64>]] = [:]

  /// Whether no range is claimed.
  var isEmpty: Bool { ranges.isEmpty }

  /// Whether a range of `bar` is claimed.
  func contains(_ bar: BAR.Index) -> Bool { ranges[bar] != nil }

  /// Adds `range` of `bar`.
  /// - Throws: ``DeviceError/overlapping(subject:problem:)``.
  mutating func claim(
    _ range: ClosedRange<UInt64>, of bar: BAR.Index, _ device: PCIAddress
  ) throws(DeviceError) {
    if let other = ranges[bar]?.first(where: { $0.overlaps(range) }) {
      throw .overlapping(
        subject: "BAR \(bar) of \(device)",
        problem: "\(Self.describe(range)) overlaps \(Self.describe(other)), which is open already")
    }
    ranges[bar, default: []].append(range)
  }

  /// Removes `range` of `bar`.
  mutating func release(_ range: ClosedRange<UInt64>, of bar: BAR.Index) {
    ranges[bar]?.removeAll { $0 == range }
    if ranges[bar]?.isEmpty == true { ranges[bar] = nil }
  }

  private static func describe(_ range: ClosedRange<UInt64>) -> String {
    let size = ByteCount(range.upperBound - range.lowerBound + 1)
    return "\(size) from offset \(ByteCount(range.lowerBound))"
  }
}
