import BrokerProtocol
import GenPool
import SystemPackage
import Testing

@testable import genpoolctl

@Suite struct RenderingTests {
  @Test func `columns are as wide as their widest cell, numbers to the right`() {
    var table = Table([.init("NAME"), .init("SIZE", .right), .init("STATE")])
    table.add(["a", "64 MiB", "x"])
    table.add(["longer", "4 KiB", ""])
    #expect(
      table.text == """
        NAME      SIZE  STATE
        a       64 MiB  x
        longer   4 KiB

        """)
  }

  @Test func `only the flexible column is cut, and only to fit`() {
    var table = Table([.init("NAME", flexible: true), .init("KEY")], width: 80)
    table.add([String(repeating: "n", count: 90), "0123456789"])
    let lines = table.text.split(separator: "\n")
    #expect(lines[1].count == 80)
    #expect(lines[1].hasSuffix("n…  0123456789"))
    table.add(["short", String(repeating: "k", count: 90)])
    #expect(table.text.contains(String(repeating: "k", count: 90)))
    var piped = Table([.init("NAME", flexible: true), .init("KEY")], width: .max)
    piped.add([String(repeating: "n", count: 90), "0123456789"])
    #expect(piped.text.contains(String(repeating: "n", count: 90) + "  0123456789"))
  }

  @Test func `of several flexible columns the last is cut first`() {
    var table = Table(
      [.init("USE", flexible: true), .init("KEY"), .init("NAME", flexible: true)], width: 24)
    table.add(["eth0 up", "0123456789", "a long name"])
    let lines = table.text.split(separator: "\n")
    #expect(lines[1] == "eth0 …  0123456789  a l…" && lines[1].count == 24)
    table.add(["x", "y", "z"])
    #expect(table.text.split(separator: "\n").allSatisfy { $0.count <= 24 })
  }

  @Test func `long texts are broken at blanks and keep their indentation`() {
    let text = "one two three four".wrapped(indent: "  ", to: 11)
    #expect(text == "  one two\n    three\n    four")
    #expect("word".wrapped(indent: "", to: 2) == "word")
  }

  @Test func `facts that are not known are not shown`() {
    var sheet = FactSheet()
    sheet.add("a", "1")
    sheet.add("unknown", nil)
    sheet.add("long", "2")
    #expect(sheet.text == "a     1\nlong  2\n")
  }

  @Test func `the map shows what is free, what is not, and what is both`() {
    func map(size: ByteCount, _ runs: [(ByteCount, ByteCount)]) -> String {
      PoolShow.map(
        of: .init(
          pool: .init(
            name: "p", device: "d", bar: 2, offset: .zero, size: size, physical: nil, bus: nil,
            numaNode: nil, granule: 4096, caching: "", isolation: "", state: .active, failure: nil,
            available: .zero, dirty: .zero, leased: .zero, leases: 0, holders: 0,
            largestFree: .zero, exclusiveUid: nil),
          chunks: [], freeRuns: runs.map { .init(offset: $0.0, size: $0.1) }, moreFreeRuns: false,
          largestFree: []))
    }
    #expect(map(size: .kibibytes(16), [(4096, 8192)]) == "#..#")
    #expect(map(size: .kibibytes(16), []) == "####")
    #expect(map(size: .kibibytes(16), [(0, .kibibytes(16))]) == "....")
    let large = map(size: .mebibytes(64), [(4096, .mebibytes(1)), (.mebibytes(2), .mebibytes(62))])
    #expect(large == "::" + String(repeating: ".", count: 62))
    // 65 granules in 64 cells: none is lost.
    #expect(map(size: 65 * 4096, [(64 * 4096, 4096)]).hasSuffix("#:"))
    #expect(map(size: 65 * 4096, [(0, 65 * 4096)]) == String(repeating: ".", count: 64))
    // Nonsense from the broker is drawn, not died of.
    let far = ByteCount(UInt64(Int64.max))
    #expect(map(size: .kibibytes(16), [(far, far), (0, 4096)]).count == 4)
  }

  @Test func `a pool's counts are shown, if the broker is new enough to have any`() {
    var pool = Broker1.Pool(
      name: "p", device: "d", bar: 2, offset: .zero, size: 8192, physical: nil, bus: nil,
      numaNode: nil, granule: 4096, caching: "", isolation: "", state: .active, failure: nil,
      available: 4096, dirty: .zero, leased: 4096, leases: 1, holders: 1, largestFree: 4096,
      exclusiveUid: nil)
    func text(moreFreeRuns: Bool = false) -> String {
      PoolShow.text(
        of: .init(
          pool: pool, chunks: [], freeRuns: [.init(offset: .zero, size: 4096)],
          moreFreeRuns: moreFreeRuns, largestFree: []))
    }
    #expect(!text().contains("so far") && !text().contains("failed"))
    #expect(text(moreFreeRuns: true).contains("free runs   more than 1, the largest 4 KiB\n"))
    pool.statistics = .init(
      allocations: 1, frees: 0, peak: 8192, failedFull: 3, failedFragmented: 2, freeRuns: 2000,
      fragmentation: 0)
    #expect(text().contains("so far      1 lease, 0 ended, peak 8 KiB\n"))
    #expect(text().contains("failed      3 full, 2 fragmented\n"))
    #expect(text(moreFreeRuns: true).contains("free runs   2000, the largest 4 KiB\n"))
  }

  @Test func `labels are a column of the lease list, and one word of an event's line`() {
    let labelled = Broker1.Lease(
      lease: LeaseID(rawValue: "0123456789abcdef"), generation: Generation(rawValue: 1),
      pool: "cmb", offset: .zero, size: 4096, physical: nil, bus: nil, mapOffset: .zero,
      caching: "cached", isolation: "range", uid: UID(rawValue: 0), pid: PID(rawValue: 7),
      state: .leased, label: "slurm job 12")
    var plain = labelled
    plain.label = nil
    #expect(
      LeaseList.table(of: [labelled, plain]) == """
        LEASE     POOL  OFFSET   SIZE  UID  PID  STATE   LABEL
        01234567  cmb      0x0  4 KiB    0    7  leased  slurm job 12
        01234567  cmb      0x0  4 KiB    0    7  leased

        """)
    let event = Broker1.Event(event: .leaseRevoked, pool: "cmb", label: #"a "b\" pid=1"#)
    #expect(event.line == #"leaseRevoked pool=cmb label="a \"b\\\" pid=1""# + "\n")
  }

  @Test(arguments: [("0", 0), ("165", 165), ("0xa5", 165), ("255", 255)] as [(String, UInt8)])
  func `a byte can be written in decimal and in hexadecimal`(text: String, value: UInt8) {
    #expect(FillByte(argument: text)?.value == value)
  }

  @Test func `a lease is found by its first digits, if only one begins so`() throws {
    let leases = ["abcd00", "abcd11", "12345"].map { LeaseID(rawValue: $0) }
    #expect(try LeasePrefix(digits: "1234").choose(among: leases) == leases[2])
    let error = #expect(throws: Failure.self) {
      try LeasePrefix(digits: "abcd").choose(among: leases)
    }
    #expect(error?.message.contains("2 begin so, abcd00, abcd11; give more digits") == true)
  }

  @Test(arguments: ["", "256", "-1", "0x100", "a5", "0x"])
  func `what is no byte is refused`(text: String) {
    #expect(FillByte(argument: text) == nil)
  }

  @Test func `an emulated tree's lines can be evaluated by a shell`() {
    let plain = EmulationPlace(tree: "/tmp/tree")
    #expect(
      plain.exports
        == "export GENPOOL_SYSFS_ROOT=/tmp/tree\nexport GENPOOL_SOCKET=/tmp/tree.socket\n")
    let odd = EmulationPlace(tree: "/tmp/it's $HOME")
    #expect(odd.exports.contains("export GENPOOL_SYSFS_ROOT='/tmp/it'\\''s $HOME'\n"))
    #expect(EmulationPlace(tree: "relative").tree.isAbsolute)
  }
}
