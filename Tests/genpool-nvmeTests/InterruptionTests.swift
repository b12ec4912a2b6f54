import Glibc
import SystemPackage
import Testing

@testable import genpool_nvme

/// Signals, while a controller works. Each test puts the thread's and the process's back.
@Suite(.serialized) struct InterruptionTests {
  /// What signals do to this thread, put back by ``restore()``.
  private struct Signals {
    private var mask = sigset_t()
    private var ofPipes = sigaction()

    init() {
      unsafe pthread_sigmask(SIG_BLOCK, nil, &mask)
      unsafe sigaction(SIGPIPE, nil, &ofPipes)
    }

    func restore() {
      var (mask, ofPipes) = (mask, ofPipes)
      unsafe pthread_sigmask(SIG_SETMASK, &mask, nil)
      unsafe sigaction(SIGPIPE, &ofPipes, nil)
    }
  }

  @Test(arguments: [SIGINT, SIGTERM, SIGHUP, SIGQUIT])
  func `a signal waits until it is asked for`(_ signal: CInt) throws {
    let before = Signals()
    defer { before.restore() }
    Interruption.postpone()
    try Interruption.check()
    raise(signal)
    let error = try #require(throws: Problem.self) { try Interruption.check() }
    #expect(error.description.contains("signal \(signal)"))
    // Taken, or it would end the tests.
    var set = sigset_t()
    unsafe sigemptyset(&set)
    unsafe sigaddset(&set, signal)
    var taken: CInt = 0
    unsafe sigwait(&set, &taken)
    #expect(taken == signal)
  }

  @Test func `a reader that goes away is an error of the write`() throws {
    let before = Signals()
    defer { before.restore() }
    Interruption.postpone()
    let (reading, writing) = try FileDescriptor.pipe()
    try reading.close()
    defer { try? writing.close() }
    let error = try #require(throws: Problem.self) {
      try Streams.write([1], to: writing, "standard output")
    }
    #expect(error.description.hasPrefix("write standard output: "))
  }
}
