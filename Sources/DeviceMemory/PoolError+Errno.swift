public import GenPool
public import LinuxSystem
public import SystemPackage

// The allocator imports nothing, so its errors have a number there and conform here.
extension RangeAllocator.Failure: ErrnoError {
  /// The errno that says the same: ENOMEM full, ENOSPC fragmented, EBUSY outstanding, ….
  public var errno: Errno { Errno(rawValue: errorNumber) }
}
