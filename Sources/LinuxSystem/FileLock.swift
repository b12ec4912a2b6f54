import CLinux
package import SystemPackage

// Locks belong to the open file description: duplicates share them, and they live as long as any of
// them or any mapping made of one.

extension Descriptor {
  /// Opens a file for locks, and makes it when it is missing, mode 0600; its directory as well,
  /// 0700. Never follows a link.
  /// - Parameter isTrusted: whether another user must not be able to change the directory.
  /// - Throws: EPERM when another user can.
  package static func openLock(
    _ name: String, in directory: String, isTrusted: Bool
  ) throws(Errno) -> Descriptor {
    try Descriptor(result: unsafe gl_open_lock(directory, name, isTrusted ? 1 : 0))
  }

  /// Locks the whole file for itself, without waiting. flock(2).
  /// - Throws: EWOULDBLOCK when another description has it.
  package func lockFile() throws(Errno) { _ = try gl_lock_exclusive(rawValue).orErrno() }

  /// Ends ``lockFile()``.
  package func unlockFile() { _ = gl_unlock(rawValue) }

  /// Locks one byte, which the file need not have, without waiting; independent of ``lockFile()``.
  /// A lock that the description has is changed in place, or kept when it cannot be. fcntl(2),
  /// `F_OFD_SETLK`.
  /// - Throws: EAGAIN when another description is in the way.
  package func lock(byte: UInt64, isShared: Bool) throws(Errno) {
    let result =
      isShared ? gl_lock_byte_shared(rawValue, byte) : gl_lock_byte_exclusive(rawValue, byte)
    _ = try result.orErrno()
  }

  /// Ends the lock on one byte.
  package func unlock(byte: UInt64) { _ = gl_unlock_byte(rawValue, byte) }

  /// Whether another description has a lock on one of `count` bytes from `byte` on.
  package func isLocked(byte: UInt64, count: UInt64) throws(Errno) -> Bool {
    try gl_is_locked(rawValue, byte, count).orErrno() == 1
  }

  /// Whether another description has a shared lock on the byte.
  package func isLockedShared(byte: UInt64) throws(Errno) -> Bool {
    try gl_is_locked_shared(rawValue, byte).orErrno() == 1
  }

  /// Whether the file has another open file description. A mapping keeps its description, and
  /// nothing but closing and unmapping undoes that.
  /// - Throws: when the kernel cannot tell. EACCES without CAP_LEASE on a file of another user; EINVAL where
  ///   the kernel has no leases for it (sysfs since Linux 7.0); EOPNOTSUPP on a file system that is not
  ///   known to see bare mappings (overlayfs does not).
  package func isOpenElsewhere() throws(Errno) -> Bool {
    try gl_is_open_elsewhere(rawValue).orErrno() == 1
  }
}
