import Glibc
import LinuxSystem
import SystemPackage

/// The directory that `--record` or the configuration names for the pools' records.
struct RecordDirectory: Equatable {
  /// From / on.
  let path: String

  init(path: String) {
    self.path = path
  }

  /// As the command line has it: what does not begin with / counts from the working directory of
  /// now. Nil for an empty text, and where there is no such directory.
  init?(argument: String) {
    guard !argument.isEmpty else { return nil }
    let path = FilePath(argument)
    if path.isAbsolute {
      self.path = argument
      return
    }
    guard let here = unsafe getcwd(nil, 0) else { return nil }
    defer { unsafe free(here) }
    self.path = unsafe FilePath(String(cString: here)).pushing(path).string
  }

  /// Why it is no directory, or not one in which this process can do `what` (access(2)); nil when
  /// it is.
  func refusal(of what: CInt, cure: String) -> SystemError? {
    // The slash asks for a directory.
    guard unsafe access(path + "/", what) != 0 else { return nil }
    return SystemError(
      operation: "record pools in", subject: path, errno: Errno(rawValue: errno), cause: cure)
  }
}
