import Glibc
package import SystemPackage

/// The bytes of the file at `path`.
/// - Parameter limit: no more than this and one are read.
package func fileContents(_ path: String, limit: Int) throws(Errno) -> [UInt8] {
  do {
    let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
    return try file.closeAfter {
      var bytes: [UInt8] = []
      var room = [UInt8](repeating: 0, count: min(limit + 1, 64 * 1024))
      while bytes.count <= limit {
        let count = try unsafe room.withUnsafeMutableBytes { try unsafe file.read(into: $0) }
        guard count > 0 else { break }
        bytes += room.prefix(min(count, limit + 1 - bytes.count))
      }
      return bytes
    }
  } catch let error as Errno {
    throw error
  } catch {
    throw .ioError
  }
}

/// The names in the directory at `path`, in no order.
package func directoryNames(_ path: String) throws(Errno) -> [String] {
  guard let directory = unsafe opendir(path) else { throw Errno(rawValue: errno) }
  defer { unsafe closedir(directory) }
  var names: [String] = []
  while true {
    errno = 0
    guard let entry = unsafe readdir(directory) else {
      guard errno == 0 else { throw Errno(rawValue: errno) }
      return names
    }
    let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
      unsafe String(cString: UnsafeRawPointer(name).assumingMemoryBound(to: CChar.self))
    }
    if name != "." && name != ".." { names.append(name) }
  }
}
