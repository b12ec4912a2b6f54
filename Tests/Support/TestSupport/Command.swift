import Foundation

/// A command that ran to its end.
package struct CommandResult: Sendable {
  package let status: Int32
  package let output: String
  package let errors: String
  /// Whether it was killed because its time was up.
  package let hasTimedOut: Bool

  /// Runs a command, which is killed once `limit` is over.
  package init(
    running path: String, _ arguments: [String], environment: [String: String] = [:],
    limit: Duration = Process.limit
  ) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { _, new in new }
    let (output, errors) = (Pipe(), Pipe())
    process.standardOutput = output
    process.standardError = errors
    process.standardInput = FileHandle.nullDevice
    let began = ContinuousClock.now
    try process.start(limit: limit)
    self.output = String(
      decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    self.errors = String(
      decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    status = process.terminationStatus
    hasTimedOut = process.terminationReason == .uncaughtSignal && .now - began >= limit
  }
}
