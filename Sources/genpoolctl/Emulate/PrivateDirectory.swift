import DeviceEmulation
import Glibc
import LinuxSystem
import PCIDevices
import SystemPackage

/// The directory of an ephemeral tree: `genpool-XXXXXX`, this user's own, with a file `owner` that
/// tells what it is for. When that has ended the directory is abandoned, and the next call of
/// `emulate --ephemeral` removes it.
struct PrivateDirectory {
  let path: FilePath

  private static let prefix = "genpool-"
  private static let ownerFile = "owner"

  /// The life that a directory's own is tied to.
  enum Owner {
    /// The processes of this session: a shell, and what it has started.
    case session
    /// The processes that have the file `owner` open, locked: a command, and what it has started.
    case command
  }

  /// Makes one where the system empties it in the end (XDG_RUNTIME_DIR), else in TMPDIR or /tmp.
  init(for owner: Owner) throws(Failure) {
    let template = Self.parent.appending(Self.prefix + "XXXXXX").string
    var path = template.utf8CString
    let isMade = unsafe path.withUnsafeMutableBufferPointer { buffer in
      guard let template = buffer.baseAddress else { return false }
      return unsafe mkdtemp(template) != nil
    }
    guard isMade else {
      throw Failure("make a directory \(template): \(Errno(rawValue: errno))")
    }
    let name = path.dropLast().map { UInt8(bitPattern: $0) }
    self.path = FilePath(String(decoding: name, as: UTF8.self))
    do {
      try claim(for: owner)
    } catch {
      remove()
      throw Failure("make a file in \(self.path): \(error)")
    }
  }

  /// Writes the file `owner`, which appears only when it is complete, and locked.
  private func claim(for owner: Owner) throws {
    let draft = path.appending(Self.ownerFile + ".new")
    let file = try FileDescriptor.open(
      draft, .readWrite, options: [.create, .exclusiveCreate],
      permissions: [.ownerReadWrite])
    switch owner {
    case .session:
      _ = try file.writeAll("session \(getsid(0)) \(Self.namespace ?? "?")\n".utf8)
      try file.close()
    case .command:
      _ = try file.writeAll("command\n".utf8)
      // Left open, in the command as well: the lock lasts as long as any of them.
      guard flock(file.rawValue, LOCK_EX) == 0 else { throw Errno(rawValue: errno) }
    }
    guard unsafe rename(draft.string, path.appending(Self.ownerFile).string) == 0 else {
      throw Errno(rawValue: errno)
    }
  }

  /// Removes it and all that is in it.
  func remove() {
    guard let name = path.lastComponent?.string else { return }
    // TMPDIR may well be a link.
    let number = unsafe open(
      path.removingLastComponent().string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard number >= 0 else { return }
    Self.remove(name, in: Descriptor(owning: number)) { _ in true }
  }

  /// Removes the directory `name` with all that is in it, if it is this user's and `isWanted`. What
  /// is asked and what is removed is one open directory, whatever the name leads to meanwhile.
  private static func remove(
    _ name: String, in parent: borrowing Descriptor,
    if isWanted: (borrowing Descriptor) -> Bool
  ) {
    guard let directory = TreeRemover.open(name, in: parent), TreeRemover.isOwn(directory),
      isWanted(directory)
    else { return }
    TreeRemover.empty(directory)
    _ = unsafe unlinkat(parent.rawValue, name, AT_REMOVEDIR)
  }

  // MARK: Abandoned ones

  /// Removes those of this user whose owner has ended. What cannot be found out counts as in use.
  static func clearAbandoned() {
    // TMPDIR may well be a link.
    let number = unsafe open(parent.string, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard number >= 0 else { return }
    let directory = Descriptor(owning: number)
    for name in TreeRemover.entries(of: directory)
    where name.hasPrefix(prefix) && name.utf8.count == prefix.utf8.count + 6 {
      remove(name, in: directory) { isAbandoned($0) }
    }
  }

  /// The age in seconds from which on a directory without the file `owner`, and without anything
  /// else, is no longer one that is being made.
  private static let draftTime = 60

  private static func isAbandoned(_ directory: borrowing Descriptor) -> Bool {
    let number = unsafe openat(
      directory.rawValue, ownerFile, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard number >= 0 else { return errno == ENOENT && isOldDraft(directory) }
    let file = FileDescriptor(rawValue: number)
    defer { try? file.close() }
    let text = (try? Self.text(of: file)) ?? []
    let words = String(decoding: text, as: UTF8.self).split { $0 == " " || $0 == "\n" }
    switch words.first {
    case "command": return flock(number, LOCK_EX | LOCK_NB) == 0
    case "session":
      // A session's number means nothing in another namespace, which may share the directory.
      guard words.count == 3, let session = Int32(words[1]), session > 0,
        let namespace, namespace == words[2]
      else { return false }
      return !hasProcess(session)
    default: return false
    }
  }

  /// Whether its maker has ended between making the directory and the file `owner`.
  private static func isOldDraft(_ directory: borrowing Descriptor) -> Bool {
    var status = stat()
    guard unsafe fstat(directory.rawValue, &status) == 0,
      time(nil) - status.st_mtim.tv_sec > draftTime
    else { return false }
    return TreeRemover.entries(of: directory).allSatisfy { $0 == ownerFile + ".new" }
  }

  private static func text(of file: FileDescriptor) throws -> [UInt8] {
    try unsafe Array(unsafeUninitializedCapacity: 256) { buffer, count in
      count = try unsafe file.read(
        fromAbsoluteOffset: 0, into: UnsafeMutableRawBufferPointer(buffer))
    }
  }

  /// Whether any process is in the session, as far as /proc shows.
  private static func hasProcess(_ session: Int32) -> Bool {
    guard let names = try? SysfsNode(path: "/proc").entries() else { return true }
    for name in names where name.utf8.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }) {
      guard let bytes = try? SysfsNode(path: "/proc/\(name)/stat").bytes(limit: 1024) else {
        continue
      }
      let text = String(decoding: bytes, as: UTF8.self)
      // Field 6. The second is the command's name in brackets, which may have any bytes in it.
      guard let end = text.lastIndex(of: ")") else { return true }
      let fields = text[text.index(after: end)...].split(separator: " ")
      if fields.count <= 3 || fields[3] == "\(session)" { return true }
    }
    return false
  }

  /// The pid namespace: `pid:[4026531836]`.
  private static var namespace: String? {
    (try? SysfsNode(path: "/proc/self/ns/pid").linkTarget())?.string
  }

  private static var parent: FilePath {
    let environment = ProcessEnvironment.variables
    let base = ["XDG_RUNTIME_DIR", "TMPDIR"].compactMap { environment[$0] }.first { !$0.isEmpty }
    return FilePath(base ?? "/tmp")
  }
}
