import Glibc
import LinuxSystem
import SystemPackage

/// A command that runs as a child, so that its tree can be removed when it has ended. Signals that
/// would end this process are passed on to it.
struct CommandInTree: ~Copyable {
  private let signals: SignalQueue

  /// From now on the signals wait: make it before there is a tree.
  init() throws(SystemError) {
    signals = try SignalQueue([SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGCHLD])
  }

  /// Runs `arguments` with the environment of `place`, and waits for the end.
  /// - Returns: its exit status.
  /// - Throws: why it cannot be run, with the status that env(1) ends with then: 127 or 126.
  func run(_ arguments: [String], in place: EmulationPlace) throws(Failure) -> CInt {
    for (name, value) in place.environment {
      guard unsafe setenv(name, value, 1) == 0 else {
        throw Failure("set \(name): \(Errno(rawValue: errno))")
      }
    }
    let child: ChildProcess
    do throws(Errno) {
      child = try ChildProcess(arguments)
    } catch {
      throw Failure(
        "run \(arguments[0]): \(error)", status: error == .noSuchFileOrDirectory ? 127 : 126)
    }
    var entry = pollfd(fd: signals.rawValue, events: Int16(POLLIN), revents: 0)
    while true {
      if let status = child.exitStatus() { return status }
      // Whatever it returns: the child is looked at again.
      _ = unsafe poll(&entry, 1, -1)
      while let signal = signals.next() {
        switch signal {
        case SIGCHLD: break
        // A terminal sends these to the command as well.
        case SIGINT, SIGQUIT: if !isInForeground { child.send(signal) }
        default: child.send(signal)
        }
      }
    }
  }

  /// Whether a terminal counts this process among those that its keys interrupt.
  private var isInForeground: Bool {
    (0...2).contains { tcgetpgrp($0) == getpgrp() }
  }
}
