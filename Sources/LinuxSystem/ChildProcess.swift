import CLinux
import Glibc
package import SystemPackage

/// A program that runs as a child of this process, until it is waited for.
package struct ChildProcess: ~Copyable {
  private let pid: pid_t

  /// Runs the program that `arguments` names, found by PATH, with this process's environment, open
  /// files and ignored signals; none is blocked.
  /// - Throws: why it cannot be run: ENOENT, EACCES, ….
  package init(_ arguments: [String]) throws(Errno) {
    var attributes = posix_spawnattr_t()
    var mask = sigset_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    unsafe sigemptyset(&mask)
    unsafe posix_spawnattr_setsigmask(&attributes, &mask)
    unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    // SAFETY: posix_spawnp(3) wants C strings that end in a null pointer, and copies them.
    // SAFETY: posix_spawnp(3) takes C strings, the last one a null pointer, and copies them.
    let strings = unsafe arguments.map { unsafe strdup($0) }
    defer { unsafe strings.forEach { unsafe free($0) } }
    var child: pid_t = 0
    let result = unsafe posix_spawnp(
      &child, arguments[0], nil, &attributes, strings + [nil], gl_environment())
    guard result == 0 else { throw Errno(rawValue: result) }
    pid = child
  }

  /// Sends it a signal. It is a child of this process that was not waited for, so the number is
  /// still its own.
  package func send(_ signal: CInt) { kill(pid, signal) }

  /// The exit status as a shell has it, 128 and the signal's number for one that a signal ended;
  /// nil while it runs. Not to be called again afterwards.
  package func exitStatus() -> CInt? {
    var status: CInt = 0
    while true {
      let result = unsafe waitpid(pid, &status, WNOHANG)
      if result == 0 { return nil }
      if result < 0, errno == EINTR { continue }
      break
    }
    // wait(2): the low 7 bits are the signal's number, the next 8 the exit status.
    let signal = status & 0x7f
    return signal == 0 ? status >> 8 & 0xff : 128 + signal
  }
}
