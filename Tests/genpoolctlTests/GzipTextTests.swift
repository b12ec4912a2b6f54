import TestSupport
import Testing

@testable import genpoolctl

@Suite struct GzipTextTests {
  /// `text` by gzip(1), which knows a few ways to write the same.
  private func packed(_ text: String, _ options: String...) throws -> [UInt8] {
    let command = "printf %s \"$1\" | gzip \(options.joined(separator: " ")) | od -An -v -tx1"
    let result = try CommandResult(running: "/bin/sh", ["-c", command, "sh", text])
    try #require(result.status == 0, "\(result.errors)")
    return result.output.split(whereSeparator: \.isWhitespace).compactMap { UInt8($0, radix: 16) }
  }

  @Test(arguments: [
    "", "a", "CONFIG_IO_STRICT_DEVMEM=y\n",
    String(repeating: "CONFIG_X=y\n# comment\n", count: 999),
  ])
  func `texts are unpacked as gzip packed them`(text: String) throws {
    for level in ["-1", "-6", "-9", "-n"] {
      let file = try packed(text, level)
      #expect(GzipText(unpacking: file).map { String(decoding: $0.bytes, as: UTF8.self) } == text)
    }
  }

  @Test func `random texts of few and of many letters are unpacked`() throws {
    var generator = SystemRandomNumberGenerator()
    for letters in [2, 16, 64] {
      for count in [10, 1000, 30_000] {
        let text = String(
          (0..<count).map { _ in
            Character(
              Unicode.Scalar(UInt8.random(in: 48..<(48 + UInt8(letters)), using: &generator)))
          })
        let file = try packed(text)
        #expect(
          GzipText(unpacking: file).map { String(decoding: $0.bytes, as: UTF8.self) } == text)
      }
    }
  }

  @Test func `every cut and every flipped bit of a file is found, and none ends the program`()
    throws
  {
    let text = String(repeating: "CONFIG_VFIO_PCI=m\nCONFIG_IO_STRICT_DEVMEM=y\n", count: 9)
    let file = try packed(text, "-n")
    for length in 0..<file.count { #expect(GzipText(unpacking: Array(file[..<length])) == nil) }
    // The header's time, extra flags and system say nothing of the content.
    for place in file.indices where !(4...9).contains(place) && place != 3 {
      for bit in 0..<8 {
        var damaged = file
        damaged[place] ^= 1 << UInt8(bit)
        #expect(GzipText(unpacking: damaged).map { Array($0.bytes) == Array(text.utf8) } ?? true)
      }
    }
  }

  @Test func `stored blocks are unpacked`() {
    let stored: [UInt8] = [
      0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 3, 0, 0xfc, 0xff, 0x61, 0x62, 0x63, 0xc2, 0x41, 0x24,
      0x35, 3, 0, 0, 0,
    ]
    #expect(GzipText(unpacking: stored)?.bytes == Array("abc".utf8))
  }
}
