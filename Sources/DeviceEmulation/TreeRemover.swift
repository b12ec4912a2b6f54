import Glibc
package import LinuxSystem

/// Removes directories with all that is in them, step by step through open directories: a path
/// could lead elsewhere by the next step, where another user may write to a directory on the way,
/// and what root removes would be the machine's.
///
/// Invariant: no link is followed below the directory that is given.
package enum TreeRemover {
  /// Opens the directory at `path`, whose last component may not be a link; nil where there is
  /// none.
  package static func open(_ path: String) -> Descriptor? {
    descriptor(unsafe Glibc.open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC))
  }

  /// Opens the directory `name` in another one; nil where there is none, or a link.
  package static func open(_ name: String, in directory: borrowing Descriptor) -> Descriptor? {
    descriptor(
      unsafe openat(directory.rawValue, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC))
  }

  private static func descriptor(_ number: CInt) -> Descriptor? {
    number >= 0 ? Descriptor(owning: number) : nil
  }

  /// Whether a directory belongs to this process's user.
  package static func isOwn(_ directory: borrowing Descriptor) -> Bool {
    var status = stat()
    return unsafe fstat(directory.rawValue, &status) == 0 && status.st_uid == geteuid()
  }

  /// Whether `name` is a regular file of this process's user.
  static func isOwnFile(_ name: String, in directory: borrowing Descriptor) -> Bool {
    var status = stat()
    return unsafe fstatat(directory.rawValue, name, &status, AT_SYMLINK_NOFOLLOW) == 0
      && status.st_mode & S_IFMT == S_IFREG && status.st_uid == geteuid()
  }

  /// Removes `name` and what is below it. Goes on after a failure, and says nothing of it: what is
  /// left is in no one's way.
  package static func remove(_ name: String, in directory: borrowing Descriptor) {
    if unsafe unlinkat(directory.rawValue, name, 0) == 0 { return }
    guard let child = open(name, in: directory) else { return }
    empty(child)
    _ = unsafe unlinkat(directory.rawValue, name, AT_REMOVEDIR)
  }

  /// Removes all that is in a directory.
  package static func empty(_ directory: borrowing Descriptor) {
    for name in entries(of: directory) { remove(name, in: directory) }
  }

  /// The names in a directory.
  package static func entries(of directory: borrowing Descriptor) -> [String] {
    // fdopendir(3) takes the descriptor over, and moves its offset.
    guard let own = open(".", in: directory) else { return [] }
    let number = own.release()
    guard let stream = unsafe fdopendir(number) else {
      close(number)
      return []
    }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names
  }
}
