import CDeviceMemory
public import GenPool
import Glibc
public import LinuxSystem
import SystemPackage

/// Device memory in this process's address space, unmapped exactly once.
///
/// **Placement.** The address equals the physical one (without it: the offset in the descriptor)
/// modulo the largest power of two that is not above the size, at most 1 GiB. So what a pool aligns
/// in virtual addresses is aligned for the device too, and the kernel can use its largest pages.
///
/// **fork().** A forked child does not inherit the mapping (MADV_DONTFORK): two allocators over one
/// device memory would hand it out twice. Core dumps leave it out (MADV_DONTDUMP): reading
/// registers has effects.
///
/// Registers are accessed here, runs of bytes through ``Region``. Neither is ever a span or a
/// pointer, whose loads and stores a compiler may merge, split or leave out.
public struct Mapping: ~Copyable, Sendable {
  /// The address of the first byte of the range.
  public let start: VirtualAddress
  /// How long the range is.
  public let size: ByteCount
  /// What errors call it.
  let label: String

  /// Whether it may be stored to.
  public let access: Access

  /// What may be done to the memory.
  public enum Access: Sendable {
    case readWrite
    /// Stores are refused: for looking at registers of a device that is not to be changed.
    case readOnly
  }

  /// What is really mapped: the range rounded out to pages.
  private let pages: VirtualAddress
  private let length: ByteCount
  /// Who mapped it. In a forked child the addresses are free or somebody else's.
  private let process: pid_t

  /// The greatest alignment worth its address space: the largest page of x86-64 and arm64 (4 KiB).
  static let greatestAlignment = ByteCount.gibibytes(1)

  /// Maps `range`, shared, readable and, unless `access` says otherwise, writable. The mapping does
  /// not keep the range open; no mapping needs its descriptor.
  public init(
    mapping range: borrowing DeviceRange, access: Access = .readWrite
  ) throws(SystemError) {
    let page = ByteCount(pageSize)
    let congruent = range.physical?.rawValue ?? range.mapOffset.rawValue
    let slack = ByteCount(range.mapOffset.rawValue % page.rawValue)
    let label = range.label
    func refusal(_ errno: Errno, _ cause: String?) -> SystemError {
      SystemError(operation: "map", subject: label, errno: errno, cause: cause)
    }
    guard range.size > .zero else { throw refusal(.invalidArgument, "a size of 0") }
    guard congruent % page.rawValue == slack.rawValue else {
      throw refusal(
        .invalidArgument, "its offset and its physical address differ within a page")
    }
    guard range.size.rawValue <= UInt64(Int.max) - 2 * page.rawValue,
      let length = (range.size + slack).roundedUp(to: page),
      range.mapOffset.rawValue <= UInt64(Int64.max) - length.rawValue
    else { throw refusal(.overflow, "past the end of every descriptor") }

    let alignment = min(max(range.size.largestPowerOfTwo, page), Self.greatestAlignment)
    var mapped: UnsafeMutableRawPointer?
    let result = unsafe gd_map(
      range.descriptor.rawValue, (range.mapOffset - slack).rawValue, Int(length.rawValue),
      access == .readWrite ? 1 : 0, Int(alignment.rawValue), congruent - slack.rawValue, &mapped)
    guard result == 0 else {
      let errno = Errno(rawValue: -result)
      throw refusal(errno, errno.causeInMapping)
    }
    pages = VirtualAddress(UInt64(UInt(bitPattern: mapped)))
    start = pages + slack
    size = range.size
    process = getpid()
    self.access = access
    self.length = length
    self.label = label
  }

  deinit {
    guard process == getpid() else { return }
    // Fails only if it would split a mapping when there can be no more of them (vm.max_map_count);
    // nothing can be done about it here, and nothing breaks.
    _ = unsafe gd_unmap(
      UnsafeMutableRawPointer(bitPattern: UInt(pages.rawValue)), Int(length.rawValue))
  }
}

extension Mapping {
  /// Puts pages of all-ones in the memory's place, as a device that is gone reads: no load or store
  /// reaches the device by this mapping any more, nor another one that is plugged in at its
  /// address. What is stored is kept in pages of this process and goes nowhere. Other threads may
  /// use the mapping meanwhile.
  /// - Throws: ENOMEM, EMFILE. Part of the memory may still be the device's then.
  /// - Complexity: O(size / 1 MiB) system calls, 1,024 at most.
  public func overmap() throws(SystemError) {
    // A forked child does not have the mapping.
    guard process == getpid() else { return }
    let result = unsafe gd_overmap(
      UnsafeMutableRawPointer(bitPattern: UInt(pages.rawValue)), Int(length.rawValue))
    guard result == 0 else {
      throw SystemError(operation: "overmap", subject: label, errno: Errno(rawValue: -result))
    }
  }

  /// The address of `count` bytes at `offset`, all of them inside.
  func pointer(
    at offset: ByteCount, count: ByteCount, for operation: String
  ) throws(DeviceFault) -> UnsafeMutableRawPointer {
    guard offset <= size, count <= size - offset,
      let pointer = unsafe UnsafeMutableRawPointer(
        bitPattern: UInt(start.rawValue + offset.rawValue))
    else { throw fault(.outOfBounds(size: size), operation, offset, count) }
    return unsafe pointer
  }

  /// The error of one access to this memory.
  func fault(
    _ reason: DeviceFault.Reason, _ operation: String, _ offset: ByteCount, _ count: ByteCount
  ) -> DeviceFault {
    DeviceFault(
      operation: operation, subject: label, offset: offset, count: count, reason: reason)
  }
}

extension Errno {
  /// What the kernel means when it answers mmap(2) of device memory with this.
  fileprivate var causeInMapping: String? {
    switch self {
    case .notPermitted: "kernel lockdown"
    case .permissionDenied: "the descriptor must be open for reading and writing"
    case .invalidArgument: "a driver has claimed it, or it ends before the range does"
    case .operationNotSupportedByDevice: "the device is gone, or its file cannot be mapped"
    case .noMemory: "no address space left: ulimit -v, vm.max_map_count"
    default: nil
    }
  }
}
