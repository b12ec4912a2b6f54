import Glibc
import LinuxSystem
import SystemPackage
import Testing

@Suite struct ProcessEnvironmentTests {
  @Test func `the variables are those of the process`() throws {
    let path = unsafe getenv("PATH").map { unsafe String(cString: $0) }
    #expect(path != nil && ProcessEnvironment.variables["PATH"] == path)
    #expect(ProcessEnvironment.variables["GENPOOL_NO_SUCH_VARIABLE"] == nil)
  }

  @Test(arguments: [
    (0, 0, "1970-01-01T00:00:00.000Z", "19700101T000000Z"),
    (951_782_399, 7, "2000-02-28T23:59:59.007Z", "20000228T235959Z"),
    (951_782_400, 999, "2000-02-29T00:00:00.999Z", "20000229T000000Z"),
    (4_102_444_800, 50, "2100-01-01T00:00:00.050Z", "21000101T000000Z"),
  ])
  func `a time is written in UTC`(
    seconds: Int, milliseconds: Int, text: String, compact: String
  ) {
    let time = UTCTime(seconds: seconds, milliseconds: milliseconds)
    #expect(time.text == text && time.compactText == compact)
  }

  @Test func `a file is read up to its limit and one more`() throws {
    #expect(try fileContents("/proc/self/comm", limit: 4096).last == UInt8(ascii: "\n"))
    #expect(try fileContents("/dev/zero", limit: 100_000).count == 100_001)
    #expect(throws: Errno.noSuchFileOrDirectory) { try fileContents("/nonexistent", limit: 1) }
    #expect(try directoryNames("/proc/self/fd").contains("0"))
    #expect(throws: Errno.notDirectory) { try directoryNames("/proc/self/comm") }
  }
}
