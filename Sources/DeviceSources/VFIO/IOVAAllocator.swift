package import GenPool

/// Which I/O virtual addresses of a container are taken. The address space itself is what is handed out.
///
/// Coarse on purpose: addresses cost nothing, so each mapping has granules of 2 MiB to itself and at
/// least one page behind its end that is never mapped. A device that writes past the end of what it was
/// given faults there, instead of in its neighbour.
package struct IOVAAllocator: Sendable {
  package typealias Failure = RangeAllocator<IOVASpace>.Failure

  private let addresses: RangeAllocator<IOVASpace>

  /// The smallest piece handed out, which is also the unit of IOMMUs' larger pages.
  private static let granule = GranuleSize(order: 21)
  /// What is behind every piece, at least.
  private static let margin = ByteCount.kibibytes(64)
  /// More than this nobody needs, and its bitmap is 1 MiB.
  private static let end = IOVA(1 << 44)
  /// Where x86 takes writes as interrupts (Intel SDM 3A 11.11); the kernel says so as well, from 5.4 on.
  private static let interrupts = AddressRange(first: IOVA(0xfee0_0000), last: IOVA(0xfeef_ffff))
  /// What every IOMMU can do, for kernels before 5.4, which do not say.
  private static let fallback = AddressRange(first: IOVA(0), last: IOVA(0xffff_ffff))
  /// What mappings are aligned to at most, as ``DeviceMemory/Mapping`` is.
  private static let greatestAlignment = ByteCount.gibibytes(1)

  /// An allocator of the addresses in `ranges`, or of those below 4 GiB when there are none.
  /// - Parameter taken: addresses that mean something else: the BARs of devices. Where bridges forward
  ///   without asking the IOMMU, such an address never gets to it.
  package init(
    ranges: [AddressRange<IOVASpace>], avoiding taken: [AddressRange<IOVASpace>] = []
  ) throws(Failure) {
    addresses = RangeAllocator(granule: Self.granule)
    var free = ranges.isEmpty ? [Self.fallback].compactMap { $0 } : ranges
    for hole in taken + [Self.interrupts].compactMap({ $0 }) {
      free = free.flatMap { $0.removing(hole) }
    }
    // An allocator serves from its newest chunk first, and low addresses suit the most devices.
    for range in free.sorted(by: { $0.first > $1.first }) {
      // Never 0: in a PRP or a descriptor that is no address.
      let first = ByteCount(max(range.first, IOVA(1)).rawValue)
        .roundedUp(to: Self.granule.byteCount)
      let end = ByteCount(min(range.last, Self.end - 1).rawValue + 1)
        .roundedDown(to: Self.granule.byteCount)
      guard let first, first < end else { continue }
      try addresses.add(start: IOVA(first.rawValue), size: end - first)
    }
  }

  /// Takes `size` bytes of address space that equal an address of another space modulo the largest
  /// power of two that is not above `size`, at most 1 GiB: what is aligned in memory is aligned for the
  /// device.
  package func allocate<Memory>(
    _ size: ByteCount, like start: Address<Memory>
  ) throws(Failure) -> IOVA {
    let alignment = alignment(of: size)
    let slack = ByteCount(start.rawValue % alignment.rawValue)
    let place = try addresses.allocate(slack + size + Self.margin, fit: .firstAligned(alignment))
    return place.start + slack
  }

  /// Gives back what ``allocate(_:like:)`` took.
  package func free(_ iova: IOVA, _ size: ByteCount) throws(Failure) {
    let slack = ByteCount(iova.rawValue % alignment(of: size).rawValue)
    try addresses.free(iova - slack, size: slack + size + Self.margin)
  }

  private func alignment(of size: ByteCount) -> ByteCount {
    min(max(size.largestPowerOfTwo, Self.granule.byteCount), Self.greatestAlignment)
  }
}

extension AddressRange {
  /// What of the range is not in `hole`.
  fileprivate func removing(_ hole: Self) -> [Self] {
    guard overlaps(hole) else { return [self] }
    var rest: [Self] = []
    if first < hole.first, let below = Self(first: first, last: hole.first - 1) {
      rest.append(below)
    }
    if hole.last < last, let above = Self(first: hole.last + 1, last: last) { rest.append(above) }
    return rest
  }
}
