import Glibc
package import SystemPackage

extension Descriptor {
  /// The length in bytes of the regular file that is open; nil for another kind of file, and for
  /// one whose last name was removed. fstat(2).
  package func lengthOfNamedFile() throws(Errno) -> UInt64? {
    var status = stat()
    guard unsafe fstat(rawValue, &status) == 0 else { throw Errno(rawValue: errno) }
    guard status.st_mode & S_IFMT == S_IFREG, status.st_nlink > 0 else { return nil }
    return UInt64(status.st_size)
  }

  /// Makes the file `length` bytes long. Bytes that are added read as zeroes. ftruncate(2).
  /// - Throws: EINVAL for a descriptor that is not open for writing, EFBIG, EIO.
  package func setFileLength(_ length: UInt64) throws(Errno) {
    guard let length = off_t(exactly: length) else { throw .fileTooLarge }
    while ftruncate(rawValue, length) != 0 {
      guard errno == EINTR else { throw Errno(rawValue: errno) }
    }
  }
}
