import Foundation
import Glibc
import TestSupport
import Testing

/// A process that keeps memory beyond its lease: Tests/Machine/attacker.c. Ended with this object.
final class Attacker {
  /// What the machine does not let a process do, so that there is nothing to attack by.
  struct Impossible: Error {}

  /// The broker's answer: `granted`, or `refused ERROR REASON`.
  let answer: String
  /// Whether the kernel let it open its descriptor's file anew; nil when it has not tried.
  let hasReopened: Bool?
  /// The process that keeps the memory; nil when the lease was refused.
  let keeper: pid_t?
  private let process = Process()
  private let input = Pipe()
  private let output = Pipe()
  private var rest = ""

  /// - Parameters:
  ///   - uid: the user that it is; nil for that of the tests.
  ///   - milliseconds: the time that its Acquire waits.
  init(
    _ arguments: [String], at socket: String, uid: Int?, poolSize: Int = 1 << 20,
    wait milliseconds: Int
  ) throws {
    process.executableURL = URL(fileURLWithPath: Executable.attacker)
    process.arguments =
      arguments + [
        "--uid", "\(uid ?? -1)", "--socket", socket, "--pool", "cmb", "--size", "\(poolSize)",
        "--wait", "\(milliseconds)",
      ]
    let errors = Pipe()
    (process.standardInput, process.standardOutput, process.standardError) = (input, output, errors)
    try process.start()
    var lines: [String] = []
    while lines.last?.hasPrefix("pid ") != true {
      guard let line = Self.line(from: output, &rest) else { break }
      lines.append(line)
    }
    guard let first = lines.first else {
      let said = String(decoding: errors.fileHandleForReading.availableData, as: UTF8.self)
      process.end()
      // In a container without user namespaces, or without io_uring.
      if said.contains("unshare") || said.contains("io_uring") { throw Impossible() }
      throw TimedOut(what: "the attacker: \(said)")
    }
    answer = first
    hasReopened = lines.first { $0.hasPrefix("reopen") }.map { $0 == "reopen granted" }
    keeper = lines.last.flatMap { $0.hasPrefix("pid ") ? pid_t($0.dropFirst(4)) : nil }
    if first == "granted", keeper == nil {
      process.end()
      throw Impossible()
    }
  }

  deinit { end() }

  var isGranted: Bool { answer == "granted" }

  /// Has the keeper do what `command` says, and returns its answer.
  func ask(_ command: String) throws -> String {
    try input.fileHandleForWriting.write(contentsOf: Data("\(command)\n".utf8))
    return try #require(Self.line(from: output, &rest), "an answer to \(command)")
  }

  /// Ends what keeps the memory.
  func end() {
    if let keeper { kill(keeper, SIGKILL) }
    process.end()
  }

  private static func line(from output: Pipe, _ rest: inout String) -> String? {
    while true {
      if let end = rest.firstIndex(of: "\n") {
        defer { rest = String(rest[rest.index(after: end)...]) }
        return String(rest[..<end])
      }
      let piece = output.fileHandleForReading.availableData
      if piece.isEmpty { return nil }
      rest += String(decoding: piece, as: UTF8.self)
    }
  }
}
