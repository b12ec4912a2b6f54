import Glibc
import LinuxSystem
import Synchronization
import SystemPackage

/// A file that a pool's calls are written to as they are made, for `genpool-bench replay`.
///
/// Each line is written at once: what the daemon did before it was killed is there, and a lease
/// takes 1 to 2 % longer (`genpool-bench lease`). The file holds whole lines only, whatever
/// happens: the first that does not go in, because the disk is full say, is taken out again and
/// ends it.
final class TraceFile: Sendable {
  let directory: String
  let path: String

  private struct State: ~Copyable {
    /// Nil once a line could not be written, or the record was ended.
    var file: Descriptor?
    /// What all lines take.
    var length = 0
    var lineCount = 0
    var failure: SystemError?
  }

  private let state: Mutex<State>
  private let onFailure: @Sendable (SystemError, _ lineCount: Int) -> Void

  /// A new file `POOL-TIME.gpt` in a directory that exists; no file that is there is touched.
  ///
  /// - Parameters:
  ///   - pool: its name; what may mean something in a file's name becomes `_`.
  ///   - onFailure: told, once, why nothing more is written, and how many lines were.
  init(
    of pool: String, in directory: String,
    onFailure: @escaping @Sendable (SystemError, _ lineCount: Int) -> Void
  ) throws(SystemError) {
    let name = "\(directory)/\(Self.fileName(of: pool))-\(UTCTime.now.compactText)"
    var path = name + ".gpt"
    var file = Self.create(path)
    // Another that began within the same second has that name.
    var number = 2
    while file == -EEXIST {
      path = "\(name)-\(number).gpt"
      file = Self.create(path)
      number += 1
    }
    state = Mutex(State(file: try Descriptor(owningResult: file, of: "create", path)))
    self.directory = directory
    self.path = path
    self.onFailure = onFailure
  }

  /// Whether lines are still written.
  var isOpen: Bool { state.withLock { $0.file != nil } }

  /// Why no more lines could be written; nil while they can, and when the record was ended.
  var failure: SystemError? { state.withLock { $0.failure } }

  /// Ends the record: how many lines it has; nil if it had ended before.
  func end() -> Int? {
    state.withLock { state in
      guard state.file != nil else { return nil }
      state.file = nil
      return state.lineCount
    }
  }

  /// Writes a line, given without its end. A file that has none is removed if the first does not go
  /// in.
  func append(_ line: String) {
    let end = state.withLock { state -> (failure: SystemError, lineCount: Int)? in
      guard let file = state.file?.rawValue else { return nil }
      let bytes = Array((line + "\n").utf8)
      do {
        try FileDescriptor(rawValue: file).writeAll(bytes)
        state.length += bytes.count
        state.lineCount += 1
        return nil
      } catch {
        _ = ftruncate(file, state.length)
        if state.length == 0 { unsafe unlink(path) }
        state.file = nil
        let failure = SystemError(
          operation: "write", subject: path, errno: error as? Errno ?? .ioError)
        state.failure = failure
        return (failure, state.lineCount)
      }
    }
    if let end { onFailure(end.failure, end.lineCount) }
  }

  /// A descriptor, or `-errno`.
  private static func create(_ path: String) -> CInt {
    let file = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o640)
    return file >= 0 ? file : -errno
  }

  /// Letters, digits, `-`, `_`, and `.` but at the start.
  private static func fileName(of pool: String) -> String {
    let name = pool.unicodeScalars.map { scalar -> Character in
      switch scalar {
      case "a"..."z", "A"..."Z", "0"..."9", "-", "_", ".": Character(scalar)
      default: "_"
      }
    }
    return name.first == "." ? "_" + String(name.dropFirst()) : String(name)
  }
}
