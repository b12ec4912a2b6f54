import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import SystemPackage
import Testing

/// A file that is shorter than its mapping raises SIGBUS like a device that is gone.
struct FaultGuardTests {
  static let page: ByteCount = 4096

  init() throws {
    try FaultGuard.enable()
  }

  @Test func `enabling twice is enabling once`() throws {
    try FaultGuard.enable()
    #expect(FaultGuard.isEnabled)
  }

  @Test func `zero, write, read and verify survive a file that ends too early`() throws {
    let file = try MemoryFile(size: Self.page)
    let region = try file.region(size: Self.page * 4)
    try file.put([UInt8](repeating: 0xff, count: 4096), at: 0)
    let bytes = [UInt8](repeating: 0x5a, count: 4096)

    // All that lies before the end arrives: no access straddles it, wherever a run starts.
    for start in 100..<108 {
      expectNoAnswer(at: Self.page, "write") { () throws(DeviceFault) in
        try region.write(bytes, at: ByteCount(start))
      }
      #expect(try file.bytes(at: ByteCount(start), count: 4096).allSatisfy { $0 == 0x5a })
      expectNoAnswer(at: Self.page, "zero") { () throws(DeviceFault) in
        try region.zero(at: ByteCount(start), count: Self.page * 3)
      }
      #expect(try file.bytes(at: ByteCount(start), count: 4096).allSatisfy { $0 == 0 })
    }
    try region.zero(at: 0, count: Self.page)
    expectNoAnswer(at: Self.page, "read") { () throws(DeviceFault) in
      _ = try region.read(at: 1, count: Self.page * 2)
    }
    expectNoAnswer(at: Self.page * 2, "verify") { () throws(DeviceFault) in
      try region.verifyZero(at: 0, count: Self.page * 4, everyBytes: Self.page * 2)
    }
    expectNoAnswer(at: Self.page * 4 - 8, "verify") { () throws(DeviceFault) in
      try region.verifyZero(at: 0, count: Self.page * 4, everyBytes: Self.page * 4)
    }
    #expect(try region.read(at: 0, count: Self.page).count == 4096, "the rest still works")
  }

  @Test func `registers survive a file that ends too early`() throws {
    let region = try MemoryFile(size: 0).region(size: Self.page)
    expectNoAnswer(at: 8, "load") { () throws(DeviceFault) in
      _ = try region.mapping.load(UInt64.self, at: 8)
    }
    expectNoAnswer(at: 3, "store") { () throws(DeviceFault) in
      try region.mapping.store(0 as UInt8, at: 3)
    }
  }

  @Test func `a file that shrinks and grows again faults and recovers`() throws {
    let file = try MemoryFile(size: Self.page)
    let region = try file.region(size: Self.page)
    for _ in 0..<100 {
      try region.mapping.store(1 as UInt32, at: 0)
      try file.resize(to: 0)
      expectNoAnswer(at: 0, "load") { () throws(DeviceFault) in
        _ = try region.mapping.load(UInt32.self, at: 0)
      }
      try file.resize(to: Self.page)
      #expect(try region.mapping.load(UInt32.self, at: 0) == 0)
    }
  }

  @Test func `threads fault independently of one another`() async throws {
    try await withThrowingTaskGroup { group in
      for _ in 0..<8 {
        group.addTask {
          let file = try MemoryFile(size: Self.page)
          let region = try file.region(size: Self.page * 2)
          for round in 0..<200 {
            let offset = ByteCount(4096 + round * 8)
            do throws(DeviceFault) {
              try region.zero(at: 0, count: offset + 8)
              Issue.record("no fault")
            } catch {
              #expect(error.reason == .noAnswer(offset: Self.page))
            }
          }
        }
      }
      try await group.waitForAll()
    }
  }

  @Test func `the error says what may be wrong`() throws {
    let region = try MemoryFile(size: 0).region(size: Self.page)
    do {
      try region.zero(at: 0x10, count: 64)
    } catch {
      #expect(error.errno == .ioError)
      #expect(
        error.description == "zero 64 B at 0x10 of BAR 2 of 0000:01:00.0: no answer at 0x10 (the "
          + "device is gone, its memory is switched off, a driver has taken it, or the file is "
          + "shorter than its mapping)")
    }
  }

  private func expectNoAnswer(
    at offset: ByteCount, _ operation: String, location: SourceLocation = #_sourceLocation,
    _ body: () throws(DeviceFault) -> Void
  ) {
    do {
      try body()
      Issue.record("no fault", sourceLocation: location)
    } catch {
      #expect(error.reason == .noAnswer(offset: offset), sourceLocation: location)
      #expect(error.operation == operation, sourceLocation: location)
    }
  }
}

/// What becomes of SIGBUS that is not ours. Each test is a process of its own.
struct FaultChainTests {
  @Test func `without the guard a fault ends the process`() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      let region = try MemoryFile(size: 0).region(size: 4096)
      restoreDefault()
      try region.zero(at: 0, count: 8)
    }
  }

  @Test func `a fault outside of guarded accesses ends the process as before`() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      restoreDefault()
      try FaultGuard.enable()
      try touchWhatIsNotThere()
    }
  }

  @Test func `a SIGBUS that somebody sent ends the process as before`() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      restoreDefault()
      try FaultGuard.enable()
      raise(SIGBUS)
    }
  }

  @Test func `a handler with details is called as before`() async {
    await #expect(processExitsWith: .exitCode(42)) {
      unsafe installDetailedHandler { _, details, _ in
        guard unsafe details?.pointee.si_code == CInt(BUS_ADRERR) else { _exit(1) }
        _exit(isBlocked(SIGBUS) ? 42 : 2)
      }
      try FaultGuard.enable()
      try touchWhatIsNotThere()
    }
  }

  @Test func `a handler without details is called as before`() async {
    await #expect(processExitsWith: .exitCode(42)) {
      installHandler { signal in _exit(signal == SIGBUS ? 42 : 1) }
      try FaultGuard.enable()
      try touchWhatIsNotThere()
    }
  }

  @Test func `a handler that repairs the fault lets the access go on`() async {
    await #expect(processExitsWith: .exitCode(42)) {
      installHandler { _ in unsafe ftruncate(repairable, 4096) }
      try FaultGuard.enable()
      let file = try MemoryFile(size: 0)
      unsafe repairable = file.descriptor.rawValue
      let region = try file.region(size: 4096)
      touch(region.mapping)
      guard !isBlocked(SIGBUS) else { _exit(1) }
      #expect(try file.bytes(at: 0, count: 1) == [1])
      exit(42)
    }
  }

  @Test func `a handler for one time only is called one time only`() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      installHandler(flags: CInt(bitPattern: UInt32(SA_RESETHAND))) { _ in }
      try FaultGuard.enable()
      raise(SIGBUS)
      raise(SIGBUS)
      _exit(1)
    }
  }

  @Test func `a SIGBUS that was ignored is ignored when sent and deadly when met`() async {
    await #expect(processExitsWith: .signal(SIGBUS)) {
      signal(SIGBUS, SIG_IGN)
      try FaultGuard.enable()
      raise(SIGBUS)
      unsafe write(1, "still here\n", 11)
      try touchWhatIsNotThere()
    }
  }

  @Test func `our faults do not reach the handler installed before`() async {
    await #expect(processExitsWith: .exitCode(42)) {
      installHandler { _ in _exit(1) }
      try FaultGuard.enable()
      let region = try MemoryFile(size: 0).region(size: 4096)
      do {
        try region.zero(at: 0, count: 8)
      } catch {
        exit(42)
      }
    }
  }
}

// SAFETY: of one exit test, which has one thread.
nonisolated(unsafe) private var repairable: CInt = -1

private func restoreDefault() {
  signal(SIGBUS, SIG_DFL)
}

private func installHandler(flags: CInt = 0, _ handler: @escaping @convention(c) (CInt) -> Void) {
  var action = sigaction()
  unsafe action.__sigaction_handler.sa_handler = handler
  action.sa_flags = flags
  guard unsafe sigaction(SIGBUS, &action, nil) == 0 else { _exit(3) }
}

private func installDetailedHandler(
  _ handler:
    @escaping @convention(c) (
      CInt, UnsafeMutablePointer<siginfo_t>?, UnsafeMutableRawPointer?
    ) -> Void
) {
  var action = sigaction()
  unsafe action.__sigaction_handler.sa_sigaction = handler
  action.sa_flags = SA_SIGINFO
  guard unsafe sigaction(SIGBUS, &action, nil) == 0 else { _exit(3) }
}

private func isBlocked(_ signal: CInt) -> Bool {
  var mask = sigset_t()
  unsafe pthread_sigmask(SIG_BLOCK, nil, &mask)
  return unsafe sigismember(&mask, signal) == 1
}

/// An access by pointer, behind the guard's back.
private func touch(_ mapping: borrowing Mapping) {
  let byte = unsafe UnsafeMutablePointer<UInt8>(bitPattern: UInt(mapping.start.rawValue))
  unsafe byte?.pointee = 1
}

private func touchWhatIsNotThere() throws {
  let region = try MemoryFile(size: 0).region(size: 4096)
  touch(region.mapping)
}
