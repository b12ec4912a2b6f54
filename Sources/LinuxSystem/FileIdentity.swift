import CLinux
package import SystemPackage

/// A regular file, told apart from one that is made later under its name and gets its inode number.
/// statx(2).
package struct FileIdentity: Hashable, Sendable {
  package let device: UInt64
  package let inode: UInt64
  /// The time of its birth in nanoseconds since 1970; 0 where the file system keeps none.
  package let born: Int64

  /// The file that is open as `descriptor`; nil for what is no regular file, or is one of sysfs,
  /// whose inodes are not the memory's.
  /// - Throws: EBADF and what else fstatfs(2) and statx(2) give.
  package init?(of descriptor: borrowing Descriptor) throws(Errno) {
    var identity = gl_file()
    let result = unsafe gl_file_identity(descriptor.rawValue, &identity)
    guard try result.orErrno() == 1 else { return nil }
    device = identity.device
    inode = identity.inode
    born = identity.born
  }
}
