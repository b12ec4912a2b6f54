import Glibc
import LinuxSystem
import SystemPackage

/// The sockets of a daemon that is started in an ephemeral tree, which lie beside the tree and go
/// with it; not those that were there before.
struct SocketsToRemove: ~Copyable {
  /// Held open: a path may lead elsewhere in the end.
  private let directory: Descriptor
  private let names: [String]

  /// Those of `place` that are not there yet.
  init(of place: EmulationPlace) throws(Failure) {
    let path = place.socket.removingLastComponent().string
    let number = unsafe open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard number >= 0 else { throw Failure("open \(path): \(Errno(rawValue: errno))") }
    directory = Descriptor(owning: number)
    let name = place.socket.lastComponent?.string ?? ""
    names = [name, name + ".admin"].filter { Self.kind(of: $0, in: number) == nil }
  }

  /// Removes what are sockets by now.
  func remove() {
    for name in names where Self.kind(of: name, in: directory.rawValue) == S_IFSOCK {
      _ = unsafe unlinkat(directory.rawValue, name, 0)
    }
  }

  /// The type of the file `name`; nil where there is none.
  private static func kind(of name: String, in directory: CInt) -> mode_t? {
    var status = stat()
    guard unsafe fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else { return nil }
    return status.st_mode & S_IFMT
  }
}
