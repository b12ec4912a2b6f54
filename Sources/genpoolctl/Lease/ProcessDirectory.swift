import Glibc
import LinuxSystem
import SystemPackage

/// A process, read from its directory below /proc. proc(5).
///
/// The process may end at any time: every read throws ENOENT or ESRCH then. Text of the process's
/// own choice (its name, paths) is taken as it comes.
struct ProcessDirectory {
  /// The process's number.
  let pid: Int32
  private let path: String

  /// The processes that `proc`, by default /proc, lists.
  static func all(in proc: String) throws(Errno) -> [Self] {
    try directoryNames(proc).compactMap { name in
      Int32(name).map { Self(pid: $0, path: "\(proc)/\(name)") }
    }.sorted { $0.pid < $1.pid }
  }

  /// Whether this process's pid namespace is the machine's first, which has all processes.
  static var areOfWholeMachine: Bool {
    // The number is the kernel's PROC_PID_INIT_INO.
    (try? link(at: "/proc/self/ns/pid")) == "pid:[4026531836]"
  }

  /// The effective user, which the daemon counts leases by.
  func user() throws(Errno) -> UInt32 {
    // "Uid:", and the real, effective, saved and file system user.
    for line in try text(of: "status").split(separator: "\n") where line.hasPrefix("Uid:") {
      let fields = line.split(whereSeparator: \.isWhitespace)
      if fields.count > 2, let user = UInt32(fields[2]) { return user }
    }
    throw .noSuchProcess
  }

  /// The name of the program, or what the process calls itself instead.
  func command() throws(Errno) -> String {
    String(try text(of: "comm").split(separator: "\n", omittingEmptySubsequences: false)[0])
  }

  /// The directories of the process's threads, by their names in this one. A thread may have a
  /// table of descriptors of its own (`unshare(CLONE_FILES)`), and the first may have ended before
  /// the others: then it has neither descriptors nor mappings any more.
  func threads() throws(Errno) -> [String] {
    try directoryNames(path + "/task").map { "task/\($0)" }
  }

  /// The numbers of the descriptors in a thread's table.
  func descriptors(of thread: String) throws(Errno) -> [String] {
    try directoryNames("\(path)/\(thread)/fd")
  }

  /// The path that leads to an open file, without a look-up on the way.
  func file(_ descriptor: String, of thread: String) -> String {
    "\(path)/\(thread)/fd/\(descriptor)"
  }

  /// The text that stands for an open file: a path, or `anon_inode:[…]`.
  func name(_ descriptor: String, of thread: String) throws(Errno) -> String {
    try Self.link(at: file(descriptor, of: thread))
  }

  /// The kernel's notes on an open file, a line each.
  func notes(_ descriptor: String, of thread: String) throws(Errno) -> [Substring] {
    try text(of: "\(thread)/fdinfo/\(descriptor)").split(separator: "\n")
  }

  /// The mappings of files, as a thread sees them; empty for one that has ended.
  func mappings(of thread: String) throws(Errno) -> [FileMapping] {
    try text(of: "\(thread)/maps").split(separator: "\n").compactMap(FileMapping.init)
  }

  /// The path that leads to a mapped file. Only root of the whole machine may follow it.
  func file(of mapping: FileMapping) -> String { "\(path)/map_files/\(mapping.range)" }

  private func text(of name: String) throws(Errno) -> String {
    let file = try open("\(path)/\(name)")
    defer { try? file.close() }
    var text: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = try read(file, into: &piece)
      guard count > 0 else { return String(decoding: text, as: UTF8.self) }
      text += piece.prefix(count)
    }
  }

  private func open(_ path: String) throws(Errno) -> FileDescriptor {
    do {
      return try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
    } catch {
      throw error as? Errno ?? .ioError
    }
  }

  private func read(_ file: FileDescriptor, into piece: inout [UInt8]) throws(Errno) -> Int {
    do {
      return try unsafe piece.withUnsafeMutableBytes { try unsafe file.read(into: $0) }
    } catch {
      throw error as? Errno ?? .ioError
    }
  }

  private static func link(at path: String) throws(Errno) -> String {
    var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let count = unsafe buffer.withUnsafeMutableBytes { bytes in
      guard let start = bytes.baseAddress else { return 0 }
      return unsafe readlink(path, start.assumingMemoryBound(to: CChar.self), bytes.count)
    }
    guard count >= 0 else { throw Errno(rawValue: errno) }
    return String(decoding: buffer[..<count], as: UTF8.self)
  }
}

/// A mapping of a file: a line of /proc/PID/maps.
struct FileMapping: Equatable {
  /// Its addresses, as the line has them and as /proc/PID/map_files names it.
  let range: String
  let number: FileNumber
  /// The file's path, or `anon_inode:[…]`.
  let name: String

  /// Reads `7f0000000000-7f0000001000 rw-s 00000000 00:2a 1234  /path`. Nil for memory without a
  /// file, whose inode is 0.
  init?(_ line: Substring) {
    // Blanks in the path are the path's own.
    let fields = line.split(separator: " ", maxSplits: 5)
    guard fields.count == 6, let inode = UInt64(fields[4]), inode != 0 else { return nil }
    let device = fields[3].split(separator: ":")
    guard device.count == 2, let major = UInt32(device[0], radix: 16),
      let minor = UInt32(device[1], radix: 16)
    else { return nil }
    range = String(fields[0])
    number = FileNumber(major: major, minor: minor, inode: inode)
    name = String(fields[5].drop { $0 == " " })
  }
}
