import Glibc
import SystemPackage

/// Where an emulated tree is, and the socket of the daemon that will use it.
struct EmulationPlace {
  /// The root of the tree, absolute.
  let tree: FilePath
  /// Where the daemon is to listen.
  let socket: FilePath

  /// The tree at `path`, and a socket beside it.
  init(tree path: String) {
    let here = FilePath(
      unsafe getcwd(nil, 0).map { path in
        defer { unsafe free(path) }
        return unsafe String(cString: path)
      } ?? "/")
    tree = here.pushing(FilePath(path)).lexicallyNormalized()
    socket = FilePath(tree.string + ".socket")
  }

  /// The tree and the socket in a private directory.
  init(_ directory: PrivateDirectory) {
    tree = directory.path.appending("sys")
    socket = directory.path.appending("socket")
  }

  /// The variables by which genpoold and genpoolctl find both.
  var environment: [String: String] {
    ["GENPOOL_SYSFS_ROOT": tree.string, "GENPOOL_SOCKET": socket.string]
  }

  /// The same as lines for a shell.
  var exports: String {
    environment.sorted { $0.key > $1.key }
      .map { "export \($0.key)=\(Self.quoted($0.value))\n" }.joined()
  }

  /// `text` as one word of a shell.
  private static func quoted(_ text: String) -> String {
    let isPlain = text.utf8.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "-"),
        UInt8(ascii: "_"), UInt8(ascii: "."):
        true
      default: false
      }
    }
    return isPlain ? text : "'" + text.replacing("'", with: "'\\''") + "'"
  }
}
