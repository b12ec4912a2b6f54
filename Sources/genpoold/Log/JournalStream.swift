import Glibc

extension EventLogHandler.Form {
  /// For the journal if standard error leads there: JOURNAL_STREAM of systemd.exec(5) then names its
  /// device and inode. The variable alone says nothing: it is inherited by those who redirect.
  static func ofStandardError(_ environment: [String: String]) -> Self {
    guard let stream = environment["JOURNAL_STREAM"] else { return .plain }
    var status = stat()
    guard unsafe fstat(STDERR_FILENO, &status) == 0 else { return .plain }
    return stream == "\(status.st_dev):\(status.st_ino)" ? .journal : .plain
  }
}
