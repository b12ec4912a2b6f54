import Testing

@testable import genpoolctl

/// What `hexdump -C` prints of the same bytes.
@Suite struct HexDumpTests {
  private func dump(_ bytes: [UInt8], pieces: Int) -> String {
    var dump = HexDump()
    var text = ""
    for start in stride(from: 0, to: bytes.count, by: pieces) {
      text += dump.add(Array(bytes[start..<min(start + pieces, bytes.count)]))
    }
    return text + dump.finish()
  }

  @Test(arguments: [1, 3, 16, 1000])
  func `lines are complete whatever the pieces`(pieces: Int) {
    let bytes = Array("Hello, device memory!".utf8) + [0, 0x7f, 0xff]
    #expect(
      dump(bytes, pieces: pieces) == """
        00000000  48 65 6c 6c 6f 2c 20 64  65 76 69 63 65 20 6d 65  |Hello, device me|
        00000010  6d 6f 72 79 21 00 7f ff                           |mory!...|
        00000018

        """)
  }

  @Test func `repeated lines become a star`() {
    var bytes = [UInt8](repeating: 0x5a, count: 64)
    bytes[50] = 0
    #expect(
      dump(bytes, pieces: 7) == """
        00000000  5a 5a 5a 5a 5a 5a 5a 5a  5a 5a 5a 5a 5a 5a 5a 5a  |ZZZZZZZZZZZZZZZZ|
        *
        00000030  5a 5a 00 5a 5a 5a 5a 5a  5a 5a 5a 5a 5a 5a 5a 5a  |ZZ.ZZZZZZZZZZZZZ|
        00000040

        """)
  }

  @Test func `of nothing there is nothing to print`() {
    #expect(dump([], pieces: 1) == "")
  }

  @Test func `a last line that repeats in part is printed`() {
    let text = dump([UInt8](repeating: 0, count: 40), pieces: 40)
    #expect(text.contains("*\n00000020  00 00 00 00 00 00 00 00 "))
    #expect(text.hasSuffix("00000028\n"))
  }
}
