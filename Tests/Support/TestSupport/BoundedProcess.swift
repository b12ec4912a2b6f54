package import Foundation
import Synchronization

/// Processes that tests start: each is killed with its group when its time is up, and when the tests'
/// own process ends, whatever ended it.
///
/// A test that waits for a process, or for the end of what it writes, therefore waits at most that long:
/// one that hangs fails instead. Foundation makes each process the leader of a group of its own.
extension Process {
  /// No test needs a process for half as long, and no failing one takes more than 60 s.
  package static let limit: Duration = .seconds(40)

  /// Starts it, and watches it.
  package func start(limit: Duration = Process.limit) throws {
    let guardian = try ProcessGuardian.shared.get()
    try run()
    guardian.watch(self, limit)
  }

  /// Sends a signal, by default SIGKILL, and waits for the end, which SIGKILL to the whole group brings
  /// after 10 s.
  ///
  /// Foundation takes a process for running while a child of it has its descriptors.
  @discardableResult
  package func end(_ signal: Int32 = SIGKILL) -> Int32 {
    let group = processIdentifier
    guard group > 0 else { return 0 }  // it was never started
    if isRunning { kill(group, signal) }
    let deadline = ContinuousClock.now + .seconds(10)
    while isRunning, .now < deadline { usleep(2_000) }
    if isRunning {
      ProcessGuardian.report(self, .seconds(10))
      kill(-group, SIGKILL)
    }
    waitUntilExit()
    return terminationStatus
  }
}

/// Kills process groups in time.
///
/// Its child, a shell that reads the groups' numbers from a pipe, outlives the tests' process by the
/// moment that it takes to kill what is left: also after a trap, or SIGKILL.
private final class ProcessGuardian: Sendable {
  static let shared = Result { try ProcessGuardian() }

  private struct Entry {
    let process: Process
    let limit: Duration
    let deadline: ContinuousClock.Instant
  }

  private let entries = Mutex<[Int32: Entry]>([:])
  private let pipe: Pipe

  private static let script = """
    groups=
    while read -r verb group; do
      case $verb in
      start) groups="$groups $group" ;;
      end) kept=
        for other in $groups; do [ "$other" = "$group" ] || kept="$kept $other"; done
        groups=$kept ;;
      esac
    done
    for group in $groups; do kill -KILL "-$group"; done 2>/dev/null
    """

  private init() throws {
    let pipe = Pipe()
    self.pipe = pipe
    // No other child may keep it open.
    let end = pipe.fileHandleForWriting.fileDescriptor
    _ = fcntl(end, F_SETFD, FD_CLOEXEC)
    let shell = Process()
    shell.executableURL = URL(fileURLWithPath: "/bin/sh")
    shell.arguments = ["-c", Self.script]
    shell.standardInput = pipe.fileHandleForReading
    shell.standardOutput = FileHandle.nullDevice
    shell.standardError = FileHandle.nullDevice
    try shell.run()
    Thread.detachNewThread { [unowned self] in
      while true {
        usleep(100_000)
        check()
      }
    }
  }

  func watch(_ process: Process, _ limit: Duration) {
    let deadline = ContinuousClock.now + limit
    entries.withLock {
      $0[process.processIdentifier] = Entry(process: process, limit: limit, deadline: deadline)
    }
    tell("start", process.processIdentifier)
  }

  private func check() {
    entries.withLock { entries in
      for (group, entry) in entries {
        if !entry.process.isRunning {
          entries[group] = nil
          tell("end", group)
        } else if entry.deadline < .now {
          Self.report(entry.process, entry.limit)
          kill(-group, SIGKILL)
        }
      }
    }
  }

  static func report(_ process: Process, _ limit: Duration) {
    let command = [process.executableURL?.lastPathComponent ?? ""] + (process.arguments ?? [])
    FileHandle.standardError.write(
      Data("killed, as it did not end in \(limit): \(command.joined(separator: " "))\n".utf8))
  }

  private func tell(_ verb: String, _ group: Int32) {
    try? pipe.fileHandleForWriting.write(contentsOf: Data("\(verb) \(group)\n".utf8))
  }
}
