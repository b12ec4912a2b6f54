import CBaselines
import GenPool
import Glibc

/// The memory and the time that a chunk takes before anything is allocated, and after some calls.
struct ChunkRow: Encodable {
  let granules: Int
  /// The memory that malloc gave for it, in bytes.
  let heap: Int
  /// The memory that the process has more with it, in bytes.
  let resident: Int
  /// The same after 1000 allocations in the whole chunk, with first and fixed fit.
  let used: Int
  /// The same when the pools are gone.
  let left: Int
  /// The time to add it: the shortest of those measured.
  let ns: UInt64

  private enum CodingKeys: String, CodingKey {
    case granules, ns
    case heap = "heap_bytes"
    case resident = "resident_bytes"
    case used = "resident_bytes_in_use"
    case left = "resident_bytes_afterwards"
  }

  static let title =
    "granules     heap, bytes   resident, KiB: new   in use    gone      added, ns"

  /// The row of the table for people.
  var line: String {
    func pad(_ value: Int, _ width: Int) -> String {
      let text = String(value)
      return text + String(repeating: " ", count: max(1, width - text.count))
    }
    return pad(granules, 13) + pad(heap, 14) + pad(resident >> 10, 21) + pad(used >> 10, 10)
      + pad(left >> 10, 10) + "\(ns)"
  }

  /// Measures pools of one chunk of `granules` pages; the figures are for each.
  init(_ granules: Int) throws {
    // Of so many that what malloc keeps for later does not count.
    let count = 256
    // What the process takes for the first pool of all is not the chunk's.
    try Self.use(try Self.add(to: Pool(granule: .page), granules), granules)
    let before = try residentSize()
    var pools = (0..<count).map { _ in Pool(granule: .page) }
    let residentBefore = try residentSize()
    let heapBefore = Int(heap_size())
    var least = UInt64.max
    for pool in pools {
      let start = nanoseconds()
      try Self.add(to: pool, granules)
      least = min(least, nanoseconds() - start)
    }
    self.granules = granules
    heap = (Int(heap_size()) - heapBefore) / count
    resident = max(0, try residentSize() - residentBefore) / count
    ns = least
    let residentUnused = try residentSize()
    let usedCount = 8
    for pool in pools[..<usedCount] { try Self.use(pool, granules) }
    used = resident + max(0, try residentSize() - residentUnused) / usedCount
    pools = []
    left = max(0, try residentSize() - before) / count
  }

  @discardableResult
  private static func add(to pool: Pool, _ granules: Int) throws -> Pool {
    try pool.add(start: VirtualAddress(1 << 40), size: ByteCount(UInt64(granules) << 12))
    return pool
  }

  private static func use(_ pool: Pool, _ granules: Int) throws {
    let page = ByteCount(4096)
    for number in 0..<1000 {
      if number % 50 == 0 {
        // A place far from the others; in a small chunk it may be taken.
        let place = UInt64(granules) / 20 * UInt64(number / 50)
        _ = try? pool.allocate(page, fit: .fixed(offset: ByteCount(place << 12)))
      } else {
        _ = try? pool.allocate(page)
      }
    }
  }
}

/// The memory that the process has, in bytes.
private func residentSize() throws -> Int {
  guard let file = unsafe fopen("/proc/self/statm", "r") else { throw BenchError.noMemory }
  defer { unsafe fclose(file) }
  var line = [CChar](repeating: 0, count: 128)
  guard unsafe fgets(&line, 128, file) != nil else { throw BenchError.noMemory }
  let fields = String(
    decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self
  )
  .split(separator: " ")
  guard fields.count > 1, let pages = Int(fields[1]) else { throw BenchError.noMemory }
  return pages * sysconf(Int32(_SC_PAGESIZE))
}
