import Glibc

/// Signals that ask the program to end: kept back while a controller works, since memory that it was
/// told of must not become somebody else's before it is stopped. (SIGKILL cannot be kept back: that is
/// what an IOMMU is for.)
enum Interruption {
  private static let signals = [SIGINT, SIGTERM, SIGHUP, SIGQUIT]

  /// Keeps the signals back from now on: when a controller is about to be touched, not before, so that a
  /// program that only reads its input can be ended.
  static func postpone() {
    var set = sigset_t()
    unsafe sigemptyset(&set)
    for signal in signals { unsafe sigaddset(&set, signal) }
    unsafe sigprocmask(SIG_BLOCK, &set, nil)
    // A reader that goes away is an error of the write, after which the controller is shut down.
    signal(SIGPIPE, SIG_IGN)
  }

  /// Throws when one has come: between two commands.
  static func check() throws(Problem) {
    var set = sigset_t()
    unsafe sigpending(&set)
    for signal in signals where unsafe sigismember(&set, signal) == 1 {
      throw Problem("interrupted by signal \(signal) and stopped between two commands")
    }
  }
}
