import CDeviceSources
import DeviceMemory
public import GenPool
import Glibc
package import LinuxSystem
import PCIDevices
import Synchronization
import SystemPackage

/// What the devices of one IOMMU group can reach: an IOMMU domain, type1v2, that is empty until
/// memory is mapped into it. VFIO translates whatever the machine was booted with; `iommu=pt` is
/// about the kernel's own drivers.
///
/// A container a group, although VFIO lets groups share one: no device reaches what another was
/// given.
public final class VFIOContainer: Sendable {
  /// The smallest pages of both the IOMMU and this machine: what mappings are whole multiples of.
  public let pageSize: ByteCount
  /// The addresses that the IOMMU translates, in order; empty when the kernel does not say (before
  /// 5.4).
  public let ranges: [AddressRange<IOVASpace>]

  private let descriptor: Descriptor
  private let addresses: IOVAAllocator
  /// What is mapped, by its first address. The lock is not held during system calls: pinning host
  /// memory takes long.
  private let mapped = Mutex<[IOVA: Mapped]>([:])
  private let process = getpid()

  private struct Mapped {
    let start: VirtualAddress
    let size: ByteCount
  }

  /// A container for `group`, an open group that is in none yet.
  /// - Parameter taken: addresses that BARs answer at.
  init(
    of group: borrowing Descriptor, number: UInt32, node: String,
    avoiding taken: [AddressRange<IOVASpace>]
  ) throws(DeviceError) {
    let path = "\(node)/vfio"
    descriptor = Descriptor(
      owning: try DeviceError.check(unsafe gs_vfio_open_container(path), "open", path))
    guard try DeviceError.check(gs_vfio_has_type1v2(descriptor.rawValue), "ask", path) == 1 else {
      throw .system(
        SystemError(
          operation: "open", subject: path, errno: .notSupported,
          cause: "the kernel lacks the type1v2 IOMMU; load vfio_iommu_type1"))
    }
    let subject = "IOMMU group \(number)"
    try DeviceError.check(
      gs_vfio_set_container(group.rawValue, descriptor.rawValue), "put into a container", subject)
    let result = gs_vfio_set_type1v2(descriptor.rawValue)
    guard result == 0 else {
      throw .system(
        SystemError(
          operation: "attach to the IOMMU", subject: subject, errno: Errno(rawValue: -result),
          cause: result == -EPERM
            ? "the machine cannot remap interrupts, so that devices could forge them; "
              + "vfio_iommu_type1.allow_unsafe_interrupts=1 accepts that" : nil))
    }
    let limits = try Self.limits(descriptor, path)
    pageSize = max(limits.pageSize, ByteCount(LinuxSystem.pageSize))
    ranges = limits.ranges
    do throws(IOVAAllocator.Failure) {
      addresses = try IOVAAllocator(ranges: limits.ranges, avoiding: taken)
    } catch {
      throw .system(
        SystemError(
          operation: "account for", subject: "the IOVAs of \(subject)",
          errno: error.errno))
    }
  }

  private static func limits(
    _ container: borrowing Descriptor, _ path: String
  ) throws(DeviceError) -> IOMMULimits {
    let number = container.rawValue
    let answer = VFIORecord.read { bytes in
      unsafe gs_vfio_iommu_info(number, &bytes, bytes.count)
    }
    try DeviceError.check(answer.result, "ask", path)
    do throws(VFIORecord.Problem) {
      return try IOMMULimits(answer.record ?? VFIORecord([]))
    } catch {
      throw .malformed(place: "IOMMU limits of \(path)", problem: error.text)
    }
  }

  // MARK: Mapping

  /// Lets the container's devices reach memory of this process, at an address of the container's
  /// choice, until the mapping's end. Host memory is pinned, a BAR's is not: hence `backing`, which
  /// keeps the memory where it is.
  /// - Parameter start: a multiple of ``pageSize``, as is `size`.
  package func map(
    _ start: VirtualAddress, _ size: ByteCount, _ subject: String,
    backing: any AnyObject & Sendable
  ) throws(SystemError) -> IOVAMapping {
    guard size > .zero, size.isMultiple(of: pageSize), start.isAligned(to: pageSize) else {
      throw SystemError(
        operation: "map into the IOMMU", subject: subject, errno: .invalidArgument,
        cause: "\(size) at \(start) are not whole pages of \(pageSize), the IOMMU's unit")
    }
    let iova: IOVA
    do throws(IOVAAllocator.Failure) {
      iova = try addresses.allocate(size, like: start)
    } catch {
      throw SystemError(
        operation: "find an IOVA for", subject: subject, errno: error.errno,
        cause: "\(size) are not free among the addresses that the IOMMU translates")
    }
    let result = gs_vfio_map(descriptor.rawValue, start.rawValue, iova.rawValue, size.rawValue)
    guard result == 0 else {
      try? addresses.free(iova, size)
      throw SystemError(
        operation: "map into the IOMMU", subject: subject, errno: Errno(rawValue: -result),
        cause: Self.cause(of: -result))
    }
    mapped.withLock { $0[iova] = Mapped(start: start, size: size) }
    return IOVAMapping(iova, size, in: self, backing: backing)
  }

  /// Takes a mapping back. Called once for each, by its end.
  fileprivate func unmap(_ iova: IOVA, _ size: ByteCount) {
    // In a forked child this is a copy, and the container the parent's.
    guard getpid() == process else { return }
    mapped.withLock { _ = $0.removeValue(forKey: iova) }
    var unmapped: UInt64 = 0
    let result = unsafe gs_vfio_unmap(
      descriptor.rawValue, iova.rawValue, size.rawValue, &unmapped)
    // What may still be mapped is not handed out again.
    if result == 0, unmapped == size.rawValue { try? addresses.free(iova, size) }
  }

  /// The memory of this process that `iova` leads to; nil where nothing is mapped. O(mappings).
  public func virtualAddress(of iova: IOVA) -> VirtualAddress? {
    mapped.withLock { mapped in
      for (first, memory) in mapped where first <= iova && iova - first < memory.size {
        return memory.start + (iova - first)
      }
      return nil
    }
  }

  private static func cause(of number: CInt) -> String? {
    switch number {
    case ENOMEM: "host memory is pinned, so `ulimit -l` (RLIMIT_MEMLOCK) limits it"
    case ENOSPC: "there are as many mappings as vfio_iommu_type1.dma_entry_limit allows"
    case EINVAL: "no such address for this IOMMU, or the memory cannot be mapped for DMA"
    case EFAULT: "the memory is not mapped in this process, or its memory space is off"
    default: nil
    }
  }
}

/// Memory that a container's devices reach; its end takes it from them. Keeps the memory and the
/// container until then.
package final class IOVAMapping: Sendable {
  /// Where it starts for the devices.
  package let iova: IOVA
  /// How long it is, in bytes.
  package let size: ByteCount

  private let container: VFIOContainer
  /// Let go of after the unmapping: a deinit comes before the ends of what it holds.
  private let backing: any AnyObject & Sendable

  fileprivate init(
    _ iova: IOVA, _ size: ByteCount, in container: VFIOContainer,
    backing: any AnyObject & Sendable
  ) {
    self.iova = iova
    self.size = size
    self.container = container
    self.backing = backing
  }

  deinit { container.unmap(iova, size) }
}

/// What an IOMMU can translate: the kernel's `struct vfio_iommu_type1_info`.
package struct IOMMULimits: Hashable, Sendable {
  /// The smallest of its pages; 0 when the kernel does not say.
  package let pageSize: ByteCount
  /// The addresses that it translates; empty when the kernel does not say.
  package let ranges: [AddressRange<IOVASpace>]

  /// Reads what the kernel says of a container.
  package init(_ record: VFIORecord) throws(VFIORecord.Problem) {
    let flags = try record.word(at: 4)
    let pages = flags & Self.hasPageSizes != 0 ? try record.doubleWord(at: 8) : 0
    pageSize = ByteCount(pages & (0 &- pages))
    guard flags & Self.hasCapabilities != 0 else {
      ranges = []
      return
    }
    let chain = try record.capabilities(from: record.word(at: 16))
    let pairs = try chain.first { $0.id == Self.addressRanges }
      .map { capability throws(VFIORecord.Problem) in try record.pairs(of: capability) }
    ranges = try (pairs ?? []).map { pair throws(VFIORecord.Problem) in
      guard let range = AddressRange(first: IOVA(pair.first), last: IOVA(pair.second)) else {
        throw VFIORecord.Problem(
          text: "the addresses end at \(IOVA(pair.second)), before \(IOVA(pair.first))")
      }
      return range
    }
  }

  /// `VFIO_IOMMU_INFO_PGSIZES`, `VFIO_IOMMU_INFO_CAPS` and `VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE`.
  private static let hasPageSizes: UInt32 = 1 << 0
  private static let hasCapabilities: UInt32 = 1 << 1
  private static let addressRanges: UInt16 = 1
}
