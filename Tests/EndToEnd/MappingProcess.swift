import Foundation
import Glibc
import Testing

/// A process that maps a file and has written to it; ended with this object. Not this process: its
/// mappings are copied into whatever another test forks.
final class MappingProcess {
  static let text = "another process's data"
  private let process = Process()
  private let input = Pipe()
  private let output = Pipe()

  init(_ path: String) throws {
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "python3", "-c",
      """
      import mmap, sys
      text = sys.argv[2].encode()
      with open(sys.argv[1], "r+b") as file:
          memory = mmap.mmap(file.fileno(), 4096)
      memory[:len(text)] = text
      print("mapped", flush=True)
      sys.stdin.read()
      print(memory[:len(text)].decode(), flush=True)
      """, path, Self.text,
    ]
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    // The line may come in pieces.
    var line = ""
    while !line.hasSuffix("\n") {
      let piece = output.fileHandleForReading.availableData
      try #require(!piece.isEmpty, "the file can be mapped")
      line += String(decoding: piece, as: UTF8.self)
    }
  }

  deinit { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }

  /// Ends it, and returns what it read of its text then.
  func end() throws -> String {
    try input.fileHandleForWriting.close()
    let text = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return String(decoding: text, as: UTF8.self)
  }
}
