import CDeviceDMA
public import DeviceMemory
public import GenPool
import Glibc
public import LinuxSystem
import SystemPackage

/// Ordinary memory whose physical addresses are known and stay: huge pages of 2 MiB, reserved for
/// this process, each contiguous in physical memory, not inherited by forked children.
///
/// The kernel neither swaps huge pages out nor, unless memory is unplugged or gigantic pages are
/// put together, moves them. Behind an IOMMU none of this matters: there VFIO pins what it maps.
public struct HostMemory: ~Copyable, Sendable {
  /// What a huge page holds here.
  public static let hugePage: ByteCount = .mebibytes(2)

  /// Where each huge page is.
  public let pages: [PhysicalAddress]
  private let descriptor: Descriptor

  /// Reserves `size` bytes, rounded up to huge pages, and looks up where they are.
  /// - Throws: when too few huge pages are free; without CAP_SYS_ADMIN, as which alone the kernel shows
  ///   physical addresses.
  public init(size: ByteCount) throws(SystemError) {
    func failure(_ operation: String, _ number: CInt, _ cause: String?) -> SystemError {
      SystemError(
        operation: operation, subject: "\(size) of huge pages", errno: Errno(rawValue: number),
        cause: cause)
    }
    guard size > .zero, let rounded = size.roundedUp(to: Self.hugePage),
      rounded <= ByteCount.gibibytes(1024)
    else { throw failure("reserve", EINVAL, "that is no size") }
    let count = Int(rounded.rawValue / Self.hugePage.rawValue)
    let number = gh_huge_pages(UInt64(rounded.rawValue))
    guard number >= 0 else {
      throw failure(
        "reserve", -number,
        [-ENOMEM, -ENOSPC].contains(number)
          ? "too few are free: echo \(count) > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
          : nil)
    }
    let descriptor = Descriptor(owning: number)
    var pages: [PhysicalAddress] = []
    for index in 0..<count {
      var physical: UInt64 = 0
      let offset = UInt64(index) * Self.hugePage.rawValue
      let result = unsafe gh_huge_page_address(descriptor.rawValue, offset, &physical)
      guard result == 0 else {
        throw failure(
          "look up the physical addresses of", -result,
          result == -EPERM ? "the kernel shows them to CAP_SYS_ADMIN only" : nil)
      }
      pages.append(PhysicalAddress(physical))
    }
    self.descriptor = descriptor
    self.pages = pages
  }

  /// Maps all of it.
  /// - Parameter bridge: what makes bus addresses of physical ones; nil where nobody knows, or only an
  ///   IOMMU counts. Then the memory has no bus addresses.
  public func map(below bridge: DirectHostBridge?) throws(SystemError) -> [SharedRegion] {
    var regions: [SharedRegion] = []
    for (index, physical) in pages.enumerated() {
      let range = DeviceRange(
        descriptor: try descriptor.duplicate(), mapOffset: Self.hugePage * UInt64(index),
        size: Self.hugePage, physical: physical, bus: bridge.map { $0.bus(of: physical) },
        caching: .cached, isolation: .range, label: "huge page \(index)")
      regions.append(SharedRegion(try Region(mapping: range)))
    }
    return regions
  }
}

extension BufferPool {
  /// Reserves and pools `size` bytes of the host's memory, in whole huge pages.
  public convenience init(
    host size: ByteCount, below bridge: DirectHostBridge?, granule: GranuleSize = .page
  ) throws(BufferPoolError) {
    let regions: [SharedRegion]
    do throws(SystemError) {
      regions = try HostMemory(size: size).map(below: bridge)
    } catch {
      throw .system(error)
    }
    try self.init(regions.map { Memory($0) }, label: "host memory", granule: granule)
  }
}
