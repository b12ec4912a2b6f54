import Glibc
import Logging
import SystemPackage

/// Writes lines to a descriptor, and waits as long as that takes. Lines that the system refuses (a
/// full disk, a pipe without a reader) are counted, and reported once it takes lines again.
///
/// The descriptor stays as it is: its open file description, and so O_NONBLOCK, is shared with the
/// processes that passed it.
struct LogOutput {
  private let descriptor: CInt
  private let form: EventLogHandler.Form
  private var refused: (lines: Int, errno: Errno)?
  /// Whether a line was cut off, so that the next one needs a line's end before it.
  private var isWithinLine = false

  init(_ descriptor: CInt, _ form: EventLogHandler.Form) {
    self.descriptor = descriptor
    self.form = form
  }

  /// Whether lines were refused that are not reported yet.
  var owesReport: Bool { refused != nil }

  /// Writes a line, which has its end, or counts it.
  mutating func write(_ line: String) {
    report()
    if let refused {
      self.refused = (refused.lines + 1, refused.errno)
    } else if let errno = put(line) {
      refused = (1, errno)
    }
  }

  /// Reports lines that were dropped before they came here.
  mutating func reportDropped(_ lines: Int) {
    write(form.dropped(lines, because: "standard error takes lines too slowly"))
  }

  /// Reports the lines that were refused, if the system takes lines again.
  mutating func report() {
    guard let refused else { return }
    if let errno = put(form.dropped(refused.lines, because: "write: \(refused.errno)")) {
      self.refused = (refused.lines, errno)
    } else {
      self.refused = nil
    }
  }

  /// Writes `line` by one write(2), unless the system takes a part of it only.
  private mutating func put(_ line: String) -> Errno? {
    var bytes = Array((isWithinLine ? "\n" + line : line).utf8)[...]
    var hasWaited = false
    while !bytes.isEmpty {
      let result = unsafe bytes.withUnsafeBytes { bytes in
        let count = unsafe Glibc.write(descriptor, bytes.baseAddress, bytes.count)
        return count < 0 ? -Int(errno) : count
      }
      switch result {
      case 1...:
        isWithinLine = bytes.prefix(result).last != UInt8(ascii: "\n")
        bytes.removeFirst(result)
        hasWaited = false
      case -Int(EINTR): continue
      case -Int(EAGAIN):
        // A descriptor that another process made non-blocking. Poll may report room that is too
        // little for the line.
        if hasWaited { usleep(10_000) }
        waitForRoom()
        hasWaited = true
      default: return result == 0 ? .ioError : Errno(rawValue: CInt(-result))
      }
    }
    return nil
  }

  private func waitForRoom() {
    var request = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    _ = unsafe poll(&request, 1, -1)
  }
}

extension EventLogHandler.Form {
  /// The line that stands for lines that are missing.
  fileprivate func dropped(_ lines: Int, because cause: String) -> String {
    line(.warning, "\(lines) \(lines == 1 ? "line" : "lines") dropped", ["cause": "\(cause)"])
  }
}
