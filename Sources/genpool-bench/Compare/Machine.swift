import Glibc

/// Where and when something was measured.
struct Machine: Encodable, CustomStringConvertible {
  /// As `2026-11-21`.
  let date: String
  /// Processor, how many, and the kernel.
  let name: String

  init() {
    var now = time(nil)
    var local = unsafe tm()
    unsafe gmtime_r(&now, &local)
    func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
    date = unsafe "\(local.tm_year + 1900)-\(two(local.tm_mon + 1))-\(two(local.tm_mday))"
    name = "\(Self.processor), \(sysconf(Int32(_SC_NPROCESSORS_ONLN))) CPUs, \(Self.kernel)"
  }

  /// What a table begins with.
  var description: String { "\(date), \(name)" }

  private enum CodingKeys: String, CodingKey {
    case date
    case name = "machine"
  }

  private static var kernel: String {
    var names = utsname()
    guard unsafe uname(&names) == 0 else { return "Linux" }
    let release = unsafe withUnsafeBytes(of: &names.release) { bytes in
      unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    let version = release.prefix { $0 != "-" && $0 != "+" }
    return "Linux \(version)"
  }

  /// What /proc/cpuinfo calls the first one; the architecture where it has no name.
  private static var processor: String {
    guard let file = unsafe fopen("/proc/cpuinfo", "re") else { return "unknown processor" }
    defer { unsafe fclose(file) }
    var line = [CChar](repeating: 0, count: 512)
    while unsafe fgets(&line, Int32(line.count), file) != nil {
      let text = String(
        decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
      guard text.hasPrefix("model name"), let colon = text.firstIndex(of: ":") else { continue }
      let name = text[text.index(after: colon)...]
      return String(name.drop { $0 == " " }.prefix { $0 != "\n" && $0 != "\"" && $0 != "\\" })
    }
    #if arch(arm64)
      return "arm64"
    #else
      return "x86-64"
    #endif
  }
}
