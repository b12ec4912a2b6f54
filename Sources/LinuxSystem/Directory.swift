import CLinux
package import SystemPackage

/// A directory of sysfs or of an emulated tree, held open: its files are those of one device even
/// when another device takes its path.
package struct Directory: ~Copyable, Sendable {
  private let descriptor: Descriptor

  /// Opens the directory at `path`, following links.
  package init(_ path: String) throws(Errno) {
    descriptor = try Descriptor(result: unsafe gl_open_directory(path))
  }

  /// Whether it is one of the kernel's sysfs.
  package func isSysfs() throws(Errno) -> Bool {
    try gl_is_sysfs(descriptor.rawValue).orErrno() == 1
  }

  /// Whether both are the same directory; false when that cannot be found out.
  package func isSame(as other: borrowing Directory) -> Bool {
    gl_is_same_file(descriptor.rawValue, other.descriptor.rawValue) == 1
  }

  /// Whether `name` leads to the file that `file` is open on. Follows no link, and opens nothing.
  package func isName(_ name: String, of file: borrowing Descriptor) throws(Errno) -> Bool {
    try unsafe gl_is_name_of(descriptor.rawValue, name, file.rawValue).orErrno() == 1
  }

  /// Opens a regular file for reading and, if asked, for writing. Never follows a link and never
  /// blocks.
  /// - Throws: EINVAL for anything but a regular file.
  package func open(_ name: String, isWritable: Bool) throws(Errno) -> Descriptor {
    try Descriptor(result: unsafe gl_open(descriptor.rawValue, name, isWritable ? 1 : 0))
  }

  /// At most `limit` bytes of attribute `name`.
  package func attribute(_ name: String, limit: Int) throws(Errno) -> [UInt8] {
    var text = [CChar](repeating: 0, count: limit)
    let length = unsafe gl_read_attribute(descriptor.rawValue, name, &text, text.count)
    return text.prefix(Int(try length.orErrno())).map { UInt8(bitPattern: $0) }
  }

  /// Replaces the text of attribute `name`, which exists, in one write, as sysfs demands.
  package func setAttribute(_ name: String, to text: String) throws(Errno) {
    let result = unsafe gl_write_attribute(descriptor.rawValue, name, text, text.utf8.count)
    _ = try result.orErrno()
  }
}

extension Descriptor {
  /// Whether both are open on one file; false when that cannot be found out.
  package func isSameFile(as other: borrowing Descriptor) -> Bool {
    gl_is_same_file(rawValue, other.rawValue) == 1
  }

  /// The file's length, in bytes: of a resource file that of its BAR.
  package func fileSize() throws(Errno) -> UInt64 {
    UInt64(try gl_size(rawValue).orErrno())
  }

  /// Exactly `count` bytes at `offset`.
  /// - Throws: ENODATA when the file has fewer.
  package func read(at offset: UInt64, count: Int) throws(Errno) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    _ = try unsafe gl_read(rawValue, offset, &bytes, count).orErrno()
    return bytes
  }

  /// Writes all of `bytes` at `offset`.
  package func write(_ bytes: [UInt8], at offset: UInt64) throws(Errno) {
    _ = try unsafe gl_write(rawValue, offset, bytes, bytes.count).orErrno()
  }
}
