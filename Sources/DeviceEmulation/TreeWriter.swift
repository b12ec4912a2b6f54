import GenPool
import Glibc
import LinuxSystem
import PCIDevices
import SystemPackage

/// A directory that an emulated tree is written into. Every step that fails throws, with the
/// operation and the path.
struct TreeWriter {
  /// The directory.
  let path: String

  /// The directory `name` of this one, made if it is not there.
  func directory(_ name: String) throws(EmulationError) -> TreeWriter {
    let child = path + "/" + name
    guard unsafe mkdir(child, 0o755) == 0 || errno == EEXIST else {
      throw failure("make directory", child)
    }
    return TreeWriter(path: child)
  }

  /// A directory several levels down, made as far as it is not there.
  func directories(_ names: String) throws(EmulationError) -> TreeWriter {
    var writer = self
    for name in names.split(separator: "/") { writer = try writer.directory(String(name)) }
    return writer
  }

  /// A new text attribute: `line` and its end.
  func attribute(_ name: String, _ line: String, mode: mode_t = 0o444) throws(EmulationError) {
    try file(name, Array((line + "\n").utf8), mode: mode)
  }

  /// A new file that starts with `content` and is `size` bytes long, if that is more: sparse.
  func file(
    _ name: String, _ content: [UInt8], size: ByteCount = .zero, mode: mode_t
  ) throws(EmulationError) {
    let child = path + "/" + name
    let number = unsafe open(child, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
    guard number >= 0 else { throw failure("create", child) }
    let file = Descriptor(owning: number)
    // First the length, so that a size beyond what the file system takes is found out at once.
    if size > .zero {
      guard let length = Int(exactly: size.rawValue), ftruncate(file.rawValue, length) == 0 else {
        throw failure("extend to \(size)", child)
      }
    }
    var rest = content[...]
    while !rest.isEmpty {
      let count = unsafe rest.withUnsafeBytes {
        unsafe Glibc.write(file.rawValue, $0.baseAddress, $0.count)
      }
      guard count > 0 || (count < 0 && errno == EINTR) else { throw failure("write", child) }
      rest = rest.dropFirst(max(0, count))
    }
  }

  /// Whether there is a file or link `name`.
  func has(_ name: String) -> Bool {
    var status = stat()
    return unsafe lstat(path + "/" + name, &status) == 0
  }

  /// Makes all bytes of a file ones, for those who have it open. Nothing when that is not possible:
  /// the file is about to be removed.
  func blank(_ name: String) {
    let number = unsafe open(path + "/" + name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard number >= 0 else { return }
    let file = Descriptor(owning: number)
    var status = stat()
    guard unsafe fstat(file.rawValue, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      return
    }
    let ones = [UInt8](repeating: 0xff, count: min(Int(status.st_size), 4096))
    _ = unsafe ones.withUnsafeBytes { unsafe pwrite(file.rawValue, $0.baseAddress, $0.count, 0) }
  }

  /// A link called `name` to `target`.
  func link(_ name: String, to target: String) throws(EmulationError) {
    let child = path + "/" + name
    guard unsafe symlink(target, child) == 0 else { throw failure("link", child) }
  }

  /// A second name for a file of this directory.
  func hardLink(_ name: String, to existing: String) throws(EmulationError) {
    let child = path + "/" + name
    guard unsafe Glibc.link(path + "/" + existing, child) == 0 else {
      throw failure("link", child)
    }
  }

  /// Moves `name` of this directory into `directory`, in one step.
  func move(_ name: String, into directory: TreeWriter) throws(EmulationError) {
    let child = path + "/" + name
    guard unsafe rename(child, directory.path + "/" + name) == 0 else {
      throw failure("move", child)
    }
  }

  /// Removes the file or link `name`, if it is there.
  func unlink(_ name: String) throws(EmulationError) {
    let child = path + "/" + name
    guard unsafe Glibc.unlink(child) == 0 || errno == ENOENT else {
      throw failure("remove", child)
    }
  }

  /// Removes `name` and what is below it: ``TreeRemover``.
  func removeAll(_ name: String) {
    if let directory = TreeRemover.open(path) { TreeRemover.remove(name, in: directory) }
  }

  private func failure(_ operation: String, _ path: String) -> EmulationError {
    let number = errno
    return .system(
      SystemError(operation: operation, subject: path, errno: Errno(rawValue: number)))
  }
}
