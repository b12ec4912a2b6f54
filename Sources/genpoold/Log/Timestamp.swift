import Glibc

/// A moment as logs write it: `2026-11-21T10:18:55.042Z`.
enum Timestamp {
  static func now() -> String {
    var time = timespec()
    guard unsafe clock_gettime(CLOCK_REALTIME, &time) == 0 else { return "-" }
    return text(seconds: time.tv_sec, milliseconds: time.tv_nsec / 1_000_000)
  }

  static func text(seconds: time_t, milliseconds: Int) -> String {
    var seconds = seconds
    var fields = tm()
    guard unsafe gmtime_r(&seconds, &fields) != nil else { return "-" }
    func digits(_ number: some BinaryInteger, _ count: Int) -> String {
      let text = String(number)
      return String(repeating: "0", count: max(0, count - text.count)) + text
    }
    return digits(fields.tm_year + 1900, 4) + "-" + digits(fields.tm_mon + 1, 2) + "-"
      + digits(fields.tm_mday, 2) + "T" + digits(fields.tm_hour, 2) + ":"
      + digits(fields.tm_min, 2) + ":" + digits(fields.tm_sec, 2) + "."
      + digits(milliseconds, 3) + "Z"
  }
}
