import GenPool
import PCIDevices
import Testing

@Suite struct ResourceTableTests {
  private static let empty = "0x0000000000000000 0x0000000000000000 0x0000000000000000"

  /// Reads a table whose first row is `row`.
  private func table(_ row: String) throws -> ResourceTable {
    let text = ([row] + Array(repeating: Self.empty, count: 6)).joined(separator: "\n") + "\n"
    return try ResourceTable(AttributeText(Array(text.utf8), at: "resource"))
  }

  @Test func `a memory row has a range with both ends`() throws {
    let row = try #require(
      try table("0x0000008000000000 0x0000008003ffffff 0x000000000014220c").rows[0])
    #expect(row.kind == .memory && row.isPrefetchable && row.is64Bit)
    #expect(row.size == .mebibytes(64))
    #expect(row.range?.first == PhysicalAddress(0x80_0000_0000))
    #expect(row.range?.last == PhysicalAddress(0x80_03ff_ffff))
  }

  @Test func `an I/O row is told from memory`() throws {
    let row = try #require(
      try table("0x000000000000c000 0x000000000000c0ff 0x0000000000040101").rows[0])
    #expect(row.kind == .io && row.size == 256)
  }

  @Test(arguments: [
    "0x0000000000000000 0x0000000003ffffff 0x000000002014220c",
    "0x0000000000001000 0x0000000003ffffff 0x000000002014220c",
    "0x0000000000000000 0x00000000000fffff 0x0000000000040200",
    "0x0000008000000000 0x0000008003ffffff 0x000000001014220c",
  ])
  func `an unassigned or disabled row has a size and no range`(text: String) throws {
    let row = try #require(try table(text).rows[0])
    #expect(row.range == nil && row.size > 0)
  }

  @Test func `an end of 0 is no size, as in the kernel`() throws {
    let row = try #require(
      try table("0x0000000000000000 0x0000000000000000 0x0000000000040200").rows[0])
    #expect(row.size == 0 && row.range == nil)
  }

  @Test func `a row of zeros is no BAR`() throws {
    #expect(try table(Self.empty).rows[0] == nil)
  }

  @Test(arguments: [
    ("0x0000008003ffffff 0x0000008000000000 0x000000000014220c", "ends at"),
    ("0x0000000000000000 0xffffffffffffffff 0x000000000014220c", "end of the address space"),
    ("0xffffffffffff0000 0xffffffffffffffff 0x000000000014220c", "end of the address space"),
    ("0x0000008000000000 0x0000008003ffffff 0x0000000000000000", "neither memory nor I/O"),
    ("0x0000008000000000 0x0000008003ffffff 0x0000000000000300", "both memory and I/O"),
    ("0x0000008000000000 0x0000008003ffffff", "not three"),
    ("0x0000008000000000  0x0000008003ffffff 0x0000000000000200", "not three"),
    ("0x00000080000000000 0x0000008003ffffff 0x0000000000000200", "not three"),
    ("8000000000 8003ffffff 14220c", "not three"),
    ("", "not three"),
    ("-0x1 0x2 0x200", "not three"),
  ])
  func `a row that makes no sense is left out, with a problem that names the line`(
    text: String, problem: String
  ) throws {
    let table = try table(text)
    #expect(table.rows[0] == nil && table.rows.count == 6)
    let error = try #require(table.problems.first)
    #expect(table.problems.count == 1)
    #expect(error.description.hasPrefix("read resource:1: "))
    #expect(error.description.contains(problem))
  }
}
