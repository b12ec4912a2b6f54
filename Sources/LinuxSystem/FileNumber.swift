import CLinux
package import SystemPackage

/// The numbers by which `/proc/PID/maps` names a file: its device's and its inode's. They are those
/// of another file when the file is removed and the inode used again. statx(2).
package struct FileNumber: Hashable, Sendable {
  package let major: UInt32
  package let minor: UInt32
  package let inode: UInt64

  package init(major: UInt32, minor: UInt32, inode: UInt64) {
    self.major = major
    self.minor = minor
    self.inode = inode
  }

  /// The numbers of the file at `path`, links followed. Blocks on no file system's server.
  /// - Throws: ENOENT, EACCES, and what else statx(2) gives.
  package init(at path: String) throws(Errno) {
    var number = gl_file_number()
    _ = try (unsafe gl_file_number_at(path, &number)).orErrno()
    self.init(major: number.major, minor: number.minor, inode: number.inode)
  }

  /// Whether the file at `path` is one of sysfs. Each network namespace has its own sysfs: with the
  /// same inodes, and another device number.
  package static func isSysfs(at path: String) -> Bool {
    unsafe gl_is_sysfs_at(path) == 1
  }
}
