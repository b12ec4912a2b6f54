import Glibc

/// A time of the calendar in UTC, to milliseconds.
package struct UTCTime: Sendable {
  private let date: [Int]
  private let time: [Int]
  private let milliseconds: Int

  /// The time now, by the system's clock.
  package static var now: Self {
    var time = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &time)
    return Self(seconds: time.tv_sec, milliseconds: time.tv_nsec / 1_000_000)
  }

  /// The time so long after the start of 1970. gmtime(3).
  package init(seconds: Int, milliseconds: Int = 0) {
    var seconds: time_t = seconds
    var fields = unsafe tm()
    _ = unsafe gmtime_r(&seconds, &fields)
    date = unsafe [Int(fields.tm_year) + 1900, Int(fields.tm_mon) + 1, Int(fields.tm_mday)]
    time = unsafe [Int(fields.tm_hour), Int(fields.tm_min), Int(fields.tm_sec)]
    self.milliseconds = milliseconds
  }

  /// ISO 8601: `2026-11-30T11:05:09.123Z`.
  package var text: String {
    let date = date.map { Self.digits($0, 2) }.joined(separator: "-")
    let time = time.map { Self.digits($0, 2) }.joined(separator: ":")
    return "\(date)T\(time).\(Self.digits(milliseconds, 3))Z"
  }

  /// ISO 8601 for a file's name: `20261130T110509Z`.
  package var compactText: String {
    let date = date.map { Self.digits($0, 2) }.joined()
    let time = time.map { Self.digits($0, 2) }.joined()
    return "\(date)T\(time)Z"
  }

  /// At least `count` digits.
  private static func digits(_ value: Int, _ count: Int) -> String {
    let text = String(value)
    return String(repeating: "0", count: max(0, count - text.count)) + text
  }
}
