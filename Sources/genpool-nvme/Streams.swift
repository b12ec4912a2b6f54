import StrictJSON
import SystemPackage

/// Where results, complaints and data go.
enum Streams {
  /// Writes a result.
  static func write(_ text: String) throws(Problem) {
    try write(Array(text.utf8), to: .standardOutput, "standard output")
  }

  /// Writes one JSON document: keys sorted, unknown facts left out.
  static func write(json content: some Encodable) throws {
    let bytes = try JSONWriter.bytes(of: content, layout: .indented)
    try write(bytes + [UInt8(ascii: "\n")], to: .standardOutput, "standard output")
  }

  /// Writes a message for people to standard error. Nobody may be listening.
  static func complain(_ message: String) {
    _ = try? FileDescriptor.standardError.writeAll("genpool-nvme: \(message)\n".utf8)
  }

  static func write(
    _ bytes: [UInt8], to file: FileDescriptor, _ name: String
  ) throws(Problem) {
    do {
      try file.writeAll(bytes)
    } catch {
      throw Problem("write \(name): \(error)")
    }
  }

  /// Opens a file for data; `-` is a standard stream.
  static func open(_ path: String, forWriting: Bool) throws(Problem) -> FileDescriptor {
    if path == "-" { return forWriting ? .standardOutput : .standardInput }
    do {
      return forWriting
        ? try .open(
          FilePath(path), .writeOnly, options: [.create, .truncate],
          permissions: FilePermissions(rawValue: 0o644))
        : try .open(FilePath(path), .readOnly)
    } catch {
      throw Problem("open \(path): \(error)")
    }
  }

  /// At most `count` bytes of a file; fewer only at its end.
  static func read(
    _ count: Int, from file: FileDescriptor, _ name: String
  ) throws(Problem) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var length = 0
    do {
      while length < count {
        let got = try unsafe bytes.withUnsafeMutableBytes { buffer in
          try unsafe file.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[length...]))
        }
        guard got > 0 else { break }
        length += got
      }
    } catch {
      throw Problem("read \(name): \(error)")
    }
    bytes.removeLast(count - length)
    return bytes
  }
}
