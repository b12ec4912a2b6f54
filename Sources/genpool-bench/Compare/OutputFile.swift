import Glibc

/// A file for results, opened before anything is measured, so that minutes of work are not for nothing.
/// What was in it stays there until the results are written.
// SAFETY: the stream is opened in init and closed in deinit.
@safe
final class OutputFile {
  private let path: String
  private let stream: UnsafeMutablePointer<FILE>

  init(path: String) throws(BenchError) {
    guard let stream = unsafe fopen(path, "ae") else { throw .cannotWrite(path, errno) }
    self.path = path
    unsafe self.stream = stream
  }

  deinit { unsafe fclose(stream) }

  /// Replaces what is in the file.
  func write(_ text: String) throws(BenchError) {
    let bytes = Array(text.utf8)
    // A device or a pipe has no length: nothing of it needs to go.
    guard unsafe ftruncate(fileno(stream), 0) == 0 || errno == EINVAL,
      unsafe fwrite(bytes, 1, bytes.count, stream) == bytes.count, unsafe fflush(stream) == 0
    else { throw .cannotWrite(path, errno) }
  }
}
