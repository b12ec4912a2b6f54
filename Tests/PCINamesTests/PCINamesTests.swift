import Glibc
import PCINames
import Testing

/// Names by libpci, from databases of the test's own making: good, bad and absent.
struct PCINamesTests {
  static let database = """
    # A comment
    1b36  Red Hat, Inc.
    \t0010  QEMU NVM Express Controller
    \t\t1af4 1100  QEMU Virtual Machine
    1af4  Red Hat, Inc.
    \t1110  Inter-VM shared memory
    C 01  Mass storage controller
    \t08  Non-Volatile memory controller
    \t\t02  NVM Express

    """

  @Test func `a vendor, a device and a class have their names`() throws {
    try withDatabase(Self.database) { path in
      let names = PCINames(path: path)
      #expect(names?.name(vendor: 0x1b36) == "Red Hat, Inc.")
      #expect(
        names?.name(vendor: 0x1b36, device: 0x0010)
          == "Red Hat, Inc. QEMU NVM Express Controller")
      #expect(names?.name(class: 0x0108) == "Non-Volatile memory controller")
    }
  }

  @Test func `what the database does not know has no name`() throws {
    try withDatabase(Self.database) { path in
      let names = PCINames(path: path)
      #expect(names?.name(vendor: 0xffff) == nil)
      #expect(names?.name(vendor: 0x1b36, device: 0xffff) == nil)
      #expect(names?.name(vendor: 0xffff, device: 0x0010) == nil)
      #expect(names?.name(class: 0xff00) == nil)
      #expect(
        names?.name(class: 0x01ff) == "Mass storage controller [01ff]", "the base class at least")
    }
  }

  @Test func `an empty database is one without names`() throws {
    try withDatabase("") { path in
      #expect(canRead(path))
      #expect(PCINames(path: path)?.name(vendor: 0x1b36) == nil)
    }
  }

  @Test func `a name longer than the buffer is cut`() throws {
    let long = String(repeating: "x", count: 700)
    try withDatabase("1234  \(long)\n") { path in
      let names = PCINames(path: path)
      let name = names?.name(vendor: 0x1234) ?? ""
      #expect(name.hasPrefix("xxxx"))
      #expect(name.hasSuffix("..."))
      #expect(name.utf8.count == 511)
    }
  }

  @Test(arguments: [
    "not hexadecimal\n", "1b36\n", "1b3", "\t0010  A device without a vendor\n",
    "1b36  Red Hat, Inc.\n1b36  Twice\n", "1b36  Red Hat, Inc.\n\t\t\tmuch too deep\n",
    "1b36  Red Hat, Inc.\n\t00", "\u{1f}\u{08}\u{0}\u{1}\u{2}", "C zz  No class\n",
    "1b36  " + String(repeating: "x", count: 1100) + "\n",
  ])
  func `a database that libpci rejects gives no names and kills nobody`(text: String) throws {
    try withDatabase(text) { path in
      #expect(!canRead(path))
    }
  }

  @Test func `every truncation of a database is survived`() throws {
    for length in 0...Self.database.utf8.count {
      try withDatabase(String(Self.database.prefix(length))) { path in
        let names = PCINames(path: path)
        _ = names?.name(vendor: 0x1b36, device: 0x0010)
        _ = names?.name(class: 0x0108)
      }
    }
  }

  @Test func `without a database there are no names`() {
    #expect(!canRead("/nonexistent/pci.ids"))
    #expect(!canRead("/nonexistent/pci.ids.gz"))
    #expect(!canRead("/"), "a directory is no database")
  }

  @Test(.enabled(if: isInstalled, "pci.ids is not installed"))
  func `the installed database knows QEMU's NVMe controller`() {
    let names = PCINames()
    #expect(names?.name(vendor: 0x1b36)?.hasPrefix("Red Hat") == true)
    #expect(names?.name(class: 0x0108) == "Non-Volatile memory controller")
  }

  private func canRead(_ path: String) -> Bool {
    switch PCINames(path: path) {
    case .some: true
    case .none: false
    }
  }

  static var isInstalled: Bool { unsafe access("/usr/share/misc/pci.ids", R_OK) == 0 }

  private func withDatabase(_ text: String, _ body: (String) throws -> Void) throws {
    var template = Array("/tmp/genpool-pci.ids-XXXXXX".utf8CString)
    let descriptor = unsafe mkstemp(&template)
    try #require(descriptor >= 0)
    let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
      close(descriptor)
      unsafe unlink(path)
    }
    let bytes = Array(text.utf8)
    try #require(unsafe write(descriptor, bytes, bytes.count) == bytes.count)
    try body(path)
  }
}
