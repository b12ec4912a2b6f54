import Glibc
import SystemPackage

/// The three streams that a program starts with.
enum StandardStreams {
  /// Opens those that are closed, so that no socket or lease gets their numbers, and text with it.
  /// What is written to one of them still fails: they are open for reading only.
  static func open() {
    while let file = try? FileDescriptor.open(FilePath("/dev/null"), .readOnly) {
      guard file.rawValue > STDERR_FILENO else { continue }
      try? file.close()
      return
    }
  }
}

/// Where results go.
enum StandardOutput {
  /// Whether a person is looking.
  static var isTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

  /// Writes all of `text`.
  ///
  /// Throws a silent ``Failure`` when the reader has closed its end: `genpoolctl … | head` is no
  /// error. (By default SIGPIPE ends the process before that; whoever ignores SIGPIPE gets EPIPE.)
  static func write(_ text: String) throws(Failure) {
    try write(Array(text.utf8))
  }

  /// Writes all of `bytes`.
  static func write(_ bytes: [UInt8]) throws(Failure) {
    do {
      try FileDescriptor.standardOutput.writeAll(bytes)
    } catch Errno.brokenPipe {
      // What the shell would report of a process that SIGPIPE ended.
      throw Failure("", status: 128 + SIGPIPE)
    } catch {
      throw Failure("write standard output: \(error)")
    }
  }
}

/// Where diagnostics go.
enum StandardError {
  /// Writes all of `text`, or as much as goes: there is nobody to tell.
  static func write(_ text: String) {
    _ = try? FileDescriptor.standardError.writeAll(text.utf8)
  }

  /// Whether a person is looking.
  static var isTerminal: Bool { isatty(STDERR_FILENO) == 1 }
}
