import CDeviceMemory
import CGenPoolInline
import GenPool
import Glibc
import Reference

/// What Stress keeps its reports in: Embedded Swift has no `Mutex` for arm64.
typealias Mutex = Locked

/// Whether the pool is the kernel's on this machine, too. The arguments are golden traces. A line a
/// test, then "N passed, N failed"; exit status 1 when any failed.
@c(main)
func runTests(_ count: Int32, _ arguments: UnsafePointer<UnsafePointer<CChar>?>) -> Int32 {
  var passed = 0
  var failed = 0
  func test(_ sentence: String, _ problem: () -> String?) {
    if let problem = problem() {
      print("NOT OK: \(sentence)\n    found: \(problem)")
      failed += 1
    } else {
      print("ok: \(sentence)")
      passed += 1
    }
    fflush(nil)  // a trap would lose the lines
  }
  test("vector instructions and words read a node as the plainest loop does", misreadNode)
  test("exactly the bytes asked for are zeroed", misplacedZero)
  test("the kernel's answers are ours, in \(count - 1) golden traces") {
    var replayer = Replayer()
    for index in 1..<Int(count) {
      guard let path = unsafe arguments[index] else { return "an argument is missing" }
      if let problem = unsafe difference(in: path, &replayer) { return problem }
    }
    // What only the trace of oddities asks for: GoldenTraceTests.
    guard replayer.refusalCount == 6, replayer.setAsideCount == 17 else {
      return "\(replayer.refusalCount) refused, \(replayer.setAsideCount) set aside"
    }
    return nil
  }
  test("random lives of pools are those of the reference model") {
    var verification = Verification(seed: 21)
    verification.run(3_000_000)
    return verification.failure
  }
  test("threads that share a pool never hold the same granule") {
    Stress(threads: 4, operations: 50_000, seed: 21).run().first
  }
  test("an access that a device does not answer is an error", silentFault)
  print("\(passed) passed, \(failed) failed")
  return failed == 0 ? 0 : 1
}

private func misreadNode() -> String? {
  guard let line = Table<UInt8>(count: NativeShape.fan) else { return "no memory" }
  var random = SplitMix64(seed: 21)
  for _ in 0..<1000 {
    // Of few values as well, so that many are the same, and the largest.
    let values = 1 + random.next(below: 128)
    for child in 0..<line.count { line[child] = UInt8(random.next(below: values)) }
    let node = unsafe NodeBytes(line.pointer(to: 0))
    for most in 0...126 as ClosedRange<UInt8> {
      var within: UInt64 = 0
      for child in 0..<line.count where line[child] <= most { within |= 1 << UInt64(child) }
      guard NativeShape.within(most, in: node) == within else { return "native, \(most)" }
      guard PortableShape.within(most, in: node) == within else { return "words, \(most)" }
    }
    // One behind the last: all of them.
    for except in 0...line.count {
      var least = UInt8.max
      for child in 0..<line.count where child != except { least = min(least, line[child]) }
      guard NativeShape.least(in: node, except: except) == least,
        PortableShape.least(in: node, except: except) == least
      else { return "the least of all but \(except)" }
    }
  }
  return nil
}

private func misplacedZero() -> String? {
  var bytes = [UInt8](repeating: 0, count: 128)
  for first in 0..<16 {
    for end in first..<96 {
      for index in bytes.indices { bytes[index] = 1 }
      unsafe bytes.withUnsafeBytes {
        gp_zero(UInt64(UInt(bitPattern: $0.baseAddress)) + UInt64(first), UInt64(end - first))
      }
      for index in bytes.indices where (bytes[index] == 0) != (first..<end).contains(index) {
        return "byte \(index) of \(first)..<\(end)"
      }
    }
  }
  return nil
}

/// The first difference from a trace's answers, whose file is `path`.
private func difference(in path: UnsafePointer<CChar>, _ replayer: inout Replayer) -> String? {
  let name = unsafe String(cString: path)
  guard let file = unsafe fopen(path, "r") else { return "\(name) cannot be opened" }
  defer { unsafe fclose(file) }
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 1 << 16)
  while case let count = unsafe fread(&buffer, 1, buffer.count, file), count > 0 {
    bytes += buffer[..<count]
  }
  let records = replayer.recordCount
  do {
    replayer.replay(try Trace(parsing: String(decoding: bytes, as: UTF8.self)))
  } catch {
    return "\(name):\(error.line): \(error.reason)"
  }
  guard replayer.recordCount > records else { return "\(name) has no records" }
  return replayer.mismatches.first.map { "\(name):\($0.record.line): \($0.got)" }
}

/// A file cut short answers as a device that was pulled out does: with SIGBUS.
private func silentFault() -> String? {
  let page = sysconf(Int32(_SC_PAGESIZE))
  guard gd_fault_guard_enable() == 0, let file = unsafe tmpfile() else {
    return "no fault guard, or no file"
  }
  defer { unsafe fclose(file) }
  let descriptor = unsafe fileno(file)
  var mapped: UnsafeMutableRawPointer?
  guard ftruncate(descriptor, 2 * page) == 0,
    unsafe gd_map(descriptor, 0, 2 * page, 1, 4 * page, UInt64(page), &mapped) == 0,
    let mapped = unsafe mapped
  else { return "no mapping" }
  defer { unsafe gd_unmap(mapped, 2 * page) }
  guard Int(bitPattern: mapped) % (4 * page) == page else { return "mapped elsewhere" }
  guard ftruncate(descriptor, page) == 0 else { return "the file stays long" }
  let host = [UInt8](repeating: 1, count: 2 * page)
  var failed = 0
  for first in [0, 1, page - 9] {
    let answer = unsafe gd_copy_in(mapped + first, host, page + 3, &failed)
    guard answer == -EFAULT, first + failed == page else {
      return "from \(first): \(answer) at \(failed)"
    }
  }
  var value: UInt64 = 0
  guard unsafe gd_load(mapped + page, 4, &value) == -EFAULT else { return "a load succeeded" }
  return unsafe gd_load(mapped, 4, &value) == 0 && value == 0x101_0101 ? nil : "loaded \(value)"
}
