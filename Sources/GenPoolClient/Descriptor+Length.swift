import GenPool
import Glibc
import LinuxSystem

extension Descriptor {
  /// How long the file is if it is a regular one, as a BAR in sysfs and a memfd are; nil for
  /// others, whose length stat(2) does not tell, and for what cannot be asked.
  var fileLength: ByteCount? {
    var status = stat()
    guard unsafe fstat(rawValue, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      return nil
    }
    return ByteCount(UInt64(clamping: status.st_size))
  }
}
