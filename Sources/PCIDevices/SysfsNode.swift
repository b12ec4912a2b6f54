import Glibc
import LinuxSystem
package import SystemPackage

/// One file, directory or link of a sysfs tree, read with suspicion: an emulated tree is written by
/// anyone, and a real one changes while it is read. Nothing here blocks, traps or reads more than
/// it was asked to, whatever lies at the path.
package struct SysfsNode: Sendable {
  /// Where it is. Not a FilePath: taking one apart costs more than reading most files here.
  package let path: String

  package init(path: String) {
    self.path = path
  }

  /// The node `name` of this directory.
  package subscript(_ name: String) -> SysfsNode { SysfsNode(path: path + "/" + name) }

  // MARK: Files

  /// At most the first `limit` bytes of a regular file.
  package func bytes(limit: Int) throws(DeviceError) -> [UInt8] {
    try opened().bytes(at: 0, count: limit)
  }

  /// The regular file at the path, open for reading.
  func opened() throws(DeviceError) -> OpenFile {
    // O_NONBLOCK: a FIFO in an emulated tree must not hang the daemon.
    let number = retrying { unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
    guard number >= 0 else { throw failure("open") }
    let file = Descriptor(owning: number)
    var status = stat()
    guard unsafe fstat(file.rawValue, &status) == 0 else { throw failure("examine") }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw malformed("it is not a regular file")
    }
    return OpenFile(file: file, node: self)
  }

  /// A regular file that is open for reading, in pieces where not all of it should be touched.
  struct OpenFile: ~Copyable {
    fileprivate let file: Descriptor
    fileprivate let node: SysfsNode

    /// `count` bytes from `offset` on; fewer where the file ends.
    func bytes(at offset: Int, count: Int) throws(DeviceError) -> [UInt8] {
      var content = [UInt8](repeating: 0, count: count)
      var length = 0
      while length < count {
        let read = unsafe content.withUnsafeMutableBytes { buffer in
          node.retrying {
            unsafe pread(
              file.rawValue, buffer.baseAddress.map { unsafe $0 + length }, count - length,
              offset + length)
          }
        }
        guard read >= 0 else { throw node.failure("read") }
        guard read > 0 else { break }
        length += read
      }
      content.removeLast(count - length)
      return content
    }
  }

  /// The text of an attribute.
  package func attribute() throws(DeviceError) -> AttributeText {
    // One byte more than is allowed, so that too much is noticed.
    try AttributeText(bytes(limit: AttributeText.limit + 1), at: path)
  }

  /// The text of an attribute that some devices or kernels lack; nil when it is not there.
  package func optionalAttribute() throws(DeviceError) -> AttributeText? {
    try exists() ? attribute() : nil
  }

  // MARK: Directories and links

  /// Whether something is at the path. A link counts even if it leads nowhere.
  package func exists() throws(DeviceError) -> Bool {
    var status = stat()
    if unsafe lstat(path, &status) == 0 { return true }
    if errno == ENOENT || errno == ENOTDIR { return false }
    throw failure("examine")
  }

  /// The names in a directory, sorted.
  package func entries() throws(DeviceError) -> [String] {
    guard let directory = unsafe opendir(path) else { throw failure("open") }
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = unsafe readdir(directory) else {
        guard errno == 0 else { throw failure("list") }
        return names.sorted()
      }
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { name in
        unsafe String(cString: UnsafeRawPointer(name).assumingMemoryBound(to: CChar.self))
      }
      if name != "." && name != ".." { names.append(name) }
    }
  }

  /// Where a link leads, as written in it; nil when nothing is at the path.
  package func linkTarget() throws(DeviceError) -> FilePath? {
    try linkText().map { FilePath($0) }
  }

  /// The components of where a link leads; nil when nothing is at the path. Not by a FilePath,
  /// which costs more than reading the link.
  func linkComponents() throws(DeviceError) -> [Substring]? {
    try linkText().map { $0.split(separator: "/") }
  }

  private func linkText() throws(DeviceError) -> String? {
    var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let count = unsafe buffer.withUnsafeMutableBytes { bytes in
      guard let start = bytes.baseAddress else { return 0 }
      return unsafe readlink(path, start.assumingMemoryBound(to: CChar.self), bytes.count)
    }
    guard count >= 0 else {
      switch errno {
      case ENOENT, ENOTDIR: return nil
      case EINVAL: throw malformed("it is not a link")
      default: throw failure("read link")
      }
    }
    return String(decoding: buffer[..<count], as: UTF8.self)
  }

  /// The last component of where a link leads: how sysfs says which driver or group a device has.
  /// Nil when there is no link. What it leads to need not be there: recordings of a machine keep
  /// its devices, and not their drivers.
  package func linkName() throws(DeviceError) -> String? {
    guard let target = try linkComponents() else { return nil }
    guard let name = target.last, name != "." && name != ".." else {
      let text = try linkText() ?? ""
      throw malformed("the link leads to \(quoted(text)), which has no name")
    }
    return String(name)
  }

  // MARK: Errors

  /// The error for a node that is not as documented.
  package func malformed(_ problem: String) -> DeviceError {
    .malformed(place: path, problem: problem)
  }

  /// The error for the system call that has just failed: read `errno` before anything else.
  fileprivate func failure(_ operation: String) -> DeviceError {
    let number = errno
    return .system(
      SystemError(operation: operation, subject: path, errno: Errno(rawValue: number)))
  }

  /// `call` again as long as a signal interrupts it.
  fileprivate func retrying<Count: SignedInteger>(_ call: () -> Count) -> Count {
    while true {
      let result = call()
      if result >= 0 || errno != EINTR { return result }
    }
  }
}
