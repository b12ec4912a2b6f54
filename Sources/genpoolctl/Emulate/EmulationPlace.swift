import Glibc
import LinuxSystem
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

  private init(privateDirectory: FilePath) {
    tree = privateDirectory.appending("sys")
    socket = privateDirectory.appending("socket")
  }

  /// A new directory of this user's own under XDG_RUNTIME_DIR, which the system empties in the end,
  /// else TMPDIR or /tmp.
  static func makePrivate() throws(Failure) -> Self {
    let environment = ProcessEnvironment.variables
    let base = ["XDG_RUNTIME_DIR", "TMPDIR"].compactMap { environment[$0] }.first { !$0.isEmpty }
    let template = FilePath(base ?? "/tmp").appending("genpool-XXXXXX").string
    var path = template.utf8CString
    let made = unsafe path.withUnsafeMutableBufferPointer { buffer in
      guard let template = buffer.baseAddress else { return false }
      return unsafe mkdtemp(template) != nil
    }
    guard made else {
      throw Failure("make a directory \(template): \(Errno(rawValue: errno))")
    }
    let name = path.dropLast().map { UInt8(bitPattern: $0) }
    return Self(privateDirectory: FilePath(String(decoding: name, as: UTF8.self)))
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
