import Glibc
import Synchronization
import SystemPackage

/// A number that several threads change.
final class Locked: Sendable {
  private let state: Mutex<Int>

  init(_ value: Int) { state = Mutex(value) }

  func add(_ number: Int) { state.withLock { $0 += number } }

  var value: Int { state.withLock { $0 } }
}

/// Whether nobody can write to a pipe any more. Waits: a child that another test forks may have the
/// other end for a moment.
func isAtEnd(_ pipe: CInt) -> Bool {
  var entry = pollfd(fd: pipe, events: Int16(POLLIN), revents: 0)
  return unsafe poll(&entry, 1, 10_000) == 1 && entry.revents == Int16(POLLHUP)
}

/// Forks, runs `body` in the child, and gives its verdict back. Swift hides fork(), the loader does
/// not.
///
/// The child of a process with many threads may find a lock of the Swift runtime taken for ever, which
/// is none of the tests' business: such a child ends by SIGALRM, and another one is made.
func inForkedChild(_ body: () -> Int32) throws -> Int32 {
  typealias Fork = @convention(c) () -> pid_t
  guard let symbol = unsafe dlsym(nil, "fork") else { throw Errno(rawValue: ENOSYS) }
  let fork = unsafe unsafeBitCast(symbol, to: Fork.self)
  var status: Int32 = 0
  for _ in 0..<10 {
    let child = fork()
    if child == 0 {
      alarm(3)
      _exit(body())
    }
    guard child > 0 else { throw Errno(rawValue: errno) }
    while unsafe waitpid(child, &status, 0) < 0 && errno == EINTR {}
    if status & 0x7f != SIGALRM { break }
  }
  return status & 0x7f == 0 ? status >> 8 & 0xff : -(status & 0x7f)
}
