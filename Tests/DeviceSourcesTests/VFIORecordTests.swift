import DeviceSources
import GenPool
import Reference
import Testing

/// What VFIO answers, byte by byte: believed only as far as it makes sense.
@Suite struct VFIORecordTests {
  @Test func `a region without capabilities is mappable as a whole`() throws {
    let region = try Record(flags: 7, size: 0x4000, offset: 2 << 40).region()
    #expect(region.size == .kibibytes(16) && region.fileOffset == ByteCount(2 << 40))
    #expect(region.canMap)
    #expect(region.mappable == [.init(offset: 0, size: .kibibytes(16))])
    #expect(region.problem(mapping: 0, .kibibytes(16)) == nil)
  }

  @Test(arguments: [0, 1, 2, 3, 4, 5, 6] as [UInt32])
  func `a region that lacks a flag cannot be mapped`(flags: UInt32) throws {
    let region = try Record(flags: flags, size: 0x4000, offset: 0).region()
    #expect(!region.canMap && region.mappable.isEmpty)
    #expect(region.problem(mapping: 0, .kibibytes(4))?.contains("vfio-pci") == true)
  }

  @Test func `only the areas of a sparse region can be mapped`() throws {
    let region = try Record(
      flags: 15, size: 0x10000, offset: 0,
      [.msix, .sparse([(0, 0x2000), (0x4000, 0xc000)])]
    ).region()
    #expect(region.mappable.map(\.offset) == [0, 0x4000])
    #expect(region.problem(mapping: 0x1000, 0x1000) == nil)
    #expect(region.problem(mapping: 0x4000, 0xc000) == nil)
    for (offset, size) in [(0, 0x3000), (0x2000, 0x1000), (0x3000, 0x2000)] as [(UInt64, UInt64)] {
      let problem = region.problem(mapping: ByteCount(offset), ByteCount(size))
      #expect(
        problem?.hasSuffix("only 8 KiB from offset 0 B, 48 KiB from offset 16 KiB can") == true)
    }
  }

  @Test func `areas that touch are one area`() throws {
    let region = try Record(
      flags: 15, size: 0x10000, offset: 0,
      [.sparse([(0x8000, 0x8000), (0, 0x4000), (0x4000, 0x4000), (0x1000, 0), (0x2000, 0x1000)])]
    ).region()
    #expect(region.mappable == [.init(offset: 0, size: 0x10000)])
  }

  @Test func `a sparse region without areas has nothing to map`() throws {
    let region = try Record(flags: 15, size: 0x10000, offset: 0, [.sparse([])]).region()
    #expect(region.problem(mapping: 0, 0x1000)?.contains("nothing of it can") == true)
  }

  @Test func `without the flag a chain is not followed`() throws {
    var record = Record(flags: 7, size: 0x4000, offset: 0)
    record.set(12, UInt32(0xffff_ffff))
    #expect(try record.region().canMap)
  }

  /// Records that point anywhere but into themselves, and what is said of them.
  static let hostile: [(String, Record, String)] = {
    func made(_ capabilities: [Record.Capability], _ change: (inout Record) -> Void) -> Record {
      var record = Record(flags: 15, size: 0x10000, offset: 0, capabilities)
      change(&record)
      return record
    }
    let areas: [(UInt64, UInt64)] = [(0, 0x1000), (0x2000, 0x1000)]
    return [
      ("nothing at all", made([]) { $0.bytes = [] }, "past its end"),
      ("too short", made([]) { $0.bytes.removeLast(9) }, "past its end"),
      ("a chain past the end", made([.msix]) { $0.set(12, UInt32(4096)) }, "past its end"),
      ("a chain at the end", made([.msix]) { $0.set(12, UInt32($0.bytes.count - 3)) }, "past its"),
      (
        "a chain of one that leads to itself", made([.msix]) { $0.set(36, UInt32(32)) },
        "back to 32"
      ),
      (
        "a chain of two that leads back",
        made([.msix, .sparse(areas)]) { $0.set(44, UInt32(32)) }, "back to 32"
      ),
      ("a chain into the fixed part", made([.msix]) { $0.set(36, UInt32(4)) }, "back to 4"),
      ("the next one past the end", made([.msix]) { $0.set(36, UInt32(1 << 31)) }, "past its end"),
      ("areas past the end", made([.sparse(areas)]) { $0.set(40, UInt32(3)) }, "no room for 3"),
      (
        "areas without number", made([.sparse(areas)]) { $0.set(40, UInt32.max) },
        "no room for 4294967295"
      ),
      (
        "an area past the region", made([.sparse([(0xf000, 0x2000)])]) { _ in }, "past the region's"
      ),
      ("an area that wraps", made([.sparse([(0x1000, .max)])]) { _ in }, "past the region's end"),
      ("a region past the end", made([]) { $0.set(24, UInt64(1) << 63) }, "pass the end of every"),
    ]
  }()

  @Test(arguments: hostile.indices)
  func `a record that makes no sense is an error`(index: Int) throws {
    let (name, record, problem) = Self.hostile[index]
    let error = try #require(throws: VFIORecord.Problem.self, "\(name)") { try record.region() }
    #expect(error.text.contains(problem), "\(name)")
  }

  @Test func `any bytes are a region or an error`() {
    var generator = SplitMix64(seed: 4)
    for _ in 0..<20_000 {
      let count = Int.random(in: 0...96, using: &generator)
      var bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
      // Close to real ones, or all would fail at the first number.
      if bytes.count > 40, Bool.random(using: &generator) {
        bytes.replaceSubrange(12..<16, with: [32, 0, 0, 0])
        bytes.replaceSubrange(32..<40, with: [1, 0, 1, 0, 0, 0, 0, 0])
      }
      guard let region = try? VFIORegion(VFIORecord(bytes)) else { continue }
      for area in region.mappable {
        #expect(area.offset <= region.size && area.size <= region.size - area.offset)
      }
    }
  }

  // MARK: IOMMU limits

  @Test func `the IOMMU says its page sizes and addresses`() throws {
    let limits = try Record.limits(
      flags: 3, pages: 0x4020_1000, [(0, 0xfedf_ffff), (0xfef0_0000, 0x7f_ffff_ffff)])
    #expect(limits.pageSize == .kibibytes(4))
    #expect(limits.ranges.map(\.first) == [IOVA(0), IOVA(0xfef0_0000)])
    #expect(limits.ranges.map(\.last) == [IOVA(0xfedf_ffff), IOVA(0x7f_ffff_ffff)])
  }

  @Test func `an old kernel says neither`() throws {
    let limits = try Record.limits(flags: 0, pages: 0x1000, [])
    #expect(limits.pageSize == .zero && limits.ranges.isEmpty)
  }

  @Test func `addresses that end before they start are an error`() {
    #expect(throws: VFIORecord.Problem.self) {
      try Record.limits(flags: 3, pages: 0x1000, [(0x2000, 0x1000)])
    }
  }
}

/// A record in the making.
struct Record: Sendable {
  var bytes: [UInt8]

  enum Capability: Sendable {
    case msix
    case sparse([(UInt64, UInt64)])
  }

  /// A `struct vfio_region_info` with a chain behind it, from 32 on.
  init(flags: UInt32, size: UInt64, offset: UInt64, _ capabilities: [Capability] = []) {
    bytes = [UInt8](repeating: 0, count: 32)
    set(4, flags)
    set(16, size)
    set(24, offset)
    var link = 12
    for capability in capabilities {
      set(link, UInt32(bytes.count))
      link = bytes.count + 4
      switch capability {
      case .msix: append(id: 3, pairs: nil)
      case .sparse(let areas): append(id: 1, pairs: areas)
      }
    }
  }

  private mutating func append(id: UInt16, pairs: [(UInt64, UInt64)]?) {
    let start = bytes.count
    bytes += [UInt8](repeating: 0, count: pairs == nil ? 8 : 16)
    set(start, UInt32(id) | 1 << 16)
    guard let pairs else { return }
    set(start + 8, UInt32(pairs.count))
    for pair in pairs {
      bytes += [UInt8](repeating: 0, count: 16)
      set(bytes.count - 16, pair.0)
      set(bytes.count - 8, pair.1)
    }
  }

  mutating func set<Value: FixedWidthInteger>(_ offset: Int, _ value: Value) {
    for index in 0..<(Value.bitWidth / 8) {
      bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
    }
  }

  func region() throws(VFIORecord.Problem) -> VFIORegion { try VFIORegion(VFIORecord(bytes)) }

  /// A `struct vfio_iommu_type1_info` with address ranges behind it.
  static func limits(
    flags: UInt32, pages: UInt64, _ ranges: [(UInt64, UInt64)]
  ) throws(VFIORecord.Problem) -> IOMMULimits {
    var record = Record(flags: flags, size: 0, offset: 0)
    record.bytes = Array(record.bytes.prefix(24))
    record.set(8, pages)
    record.set(16, UInt32(24))
    record.append(id: 1, pairs: ranges)
    return try IOMMULimits(VFIORecord(record.bytes))
  }
}
