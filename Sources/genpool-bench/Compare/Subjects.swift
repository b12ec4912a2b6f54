import CBaselines
import GenPool

/// A pool under measurement: all number their granules alike, from 0 over all chunks.
protocol Subject: AnyObject {
  /// Allocates; what frees it, nil when there is no place. `place`: where, for the fixed fit.
  func allocate(_ count: Int, at place: UInt64) -> UInt64?
  /// Frees what allocate said.
  func free(_ handle: UInt64, _ count: Int)
}

/// The measures of a pool: `chunks` times `granules`, and the size of one.
struct PoolShape: Sendable {
  let name: String
  let chunks: Int
  let granules: Int
  let granuleOrder: Int

  static let all = [
    PoolShape(name: "64MiB@4KiB", chunks: 1, granules: 16 << 10, granuleOrder: 12),
    PoolShape(name: "16GiB@4KiB", chunks: 1, granules: 4 << 20, granuleOrder: 12),
    PoolShape(name: "1GiB@64B", chunks: 1, granules: 16 << 20, granuleOrder: 6),
    PoolShape(name: "64x16MiB@4KiB", chunks: 64, granules: 4 << 10, granuleOrder: 12),
  ]
  /// The pool of the case `empty`.
  static let empty = PoolShape(
    name: "empty", chunks: 1, granules: 16 << 10, granuleOrder: 12)

  var total: Int { chunks * granules }

  /// The names of all, for people.
  static var names: String { (all + [empty]).map(\.name).joined(separator: ", ") }

  /// Whether a fit is measured here: an offset in each chunk says nothing about many.
  func has(_ fit: MeasuredFit) -> Bool { fit != .fixed || chunks == 1 }
}

/// The fits that are measured.
enum MeasuredFit: String, CaseIterable, Sendable {
  case first, aligned4, orderAligned, best, fixed

  func fit(_ shape: PoolShape, at place: UInt64) -> Fit {
    switch self {
    case .first: .first
    case .aligned4: .firstAligned(ByteCount(4 << UInt64(shape.granuleOrder)))
    case .orderAligned: .orderAligned
    case .best: .best
    case .fixed: .fixed(offset: ByteCount(place << UInt64(shape.granuleOrder)))
    }
  }

  var linear: linear_fit {
    switch self {
    case .first: LINEAR_FIRST
    case .aligned4: LINEAR_ALIGNED
    case .orderAligned: LINEAR_ORDER_ALIGNED
    case .best: LINEAR_BEST
    case .fixed: LINEAR_FIXED
    }
  }
}

/// Nothing at all: what the bench itself costs.
final class NullSubject: Subject {
  @inline(__always)
  func allocate(_ count: Int, at place: UInt64) -> UInt64? { UInt64(truncatingIfNeeded: count) }

  @inline(__always)
  func free(_ handle: UInt64, _ count: Int) {}
}

/// genpool, through its public calls: lock, checks and errors are in every figure.
final class GenPoolSubject: Subject {
  let pool: Pool
  private let shape: PoolShape
  private let fit: MeasuredFit
  private let order: UInt64
  // Aligned as mapped device memory is.
  private static let base: UInt64 = 1 << 40

  init(_ shape: PoolShape, _ fit: MeasuredFit) throws {
    self.shape = shape
    self.fit = fit
    order = UInt64(shape.granuleOrder)
    pool = Pool(
      granule: GranuleSize(order: shape.granuleOrder),
      fit: fit == .fixed ? .first : fit.fit(shape, at: 0))
    // The chunk added last is searched first: it has the lowest numbers.
    let size = UInt64(shape.granules) << order
    for chunk in (0..<UInt64(shape.chunks)).reversed() {
      try pool.add(start: VirtualAddress(Self.base + chunk * size), size: ByteCount(size))
    }
  }

  @inline(__always)
  func allocate(_ count: Int, at place: UInt64) -> UInt64? {
    let size = ByteCount(UInt64(truncatingIfNeeded: count) &<< order)
    let given = fit == .fixed && place != .max ? fit.fit(shape, at: place) : nil
    guard let got = try? pool.allocate(size, fit: given) else { return nil }
    return (got.start.rawValue &- Self.base) &>> order
  }

  @inline(__always)
  func free(_ handle: UInt64, _ count: Int) {
    let start = VirtualAddress(Self.base &+ handle &<< order)
    do {
      try pool.free(start, size: ByteCount(UInt64(truncatingIfNeeded: count) &<< order))
    } catch {
      preconditionFailure("what was allocated can be freed: \(error)")
    }
  }

  /// Allocates with a fit of its own.
  func allocate(_ count: Int, _ fit: Fit) throws -> Allocation {
    try pool.allocate(ByteCount(UInt64(count) << order), fit: fit)
  }

  /// The bitmaps, the chunk searched first first.
  var words: [[UInt64]] {
    var chunks: [[UInt64]] = []
    pool.forEachChunk { _, bitmap in
      chunks.append((0..<bitmap.wordCount).map { bitmap.word($0) })
    }
    return chunks
  }
}

/// The linear scan.
// SAFETY: the pool is created in init and destroyed in deinit.
@safe
final class LinearSubject: Subject {
  private let pool: OpaquePointer
  private let shape: PoolShape
  private let fit: MeasuredFit

  init?(_ shape: PoolShape, _ fit: MeasuredFit) {
    guard let pool = unsafe linear_create(UInt32(shape.chunks), UInt64(shape.granules)) else {
      return nil
    }
    unsafe self.pool = pool
    self.shape = shape
    self.fit = fit
  }

  deinit { unsafe linear_destroy(pool) }

  /// Takes over the state of another pool.
  func copy(_ words: [[UInt64]]) {
    for (chunk, words) in words.enumerated() {
      guard let map = unsafe linear_map(pool, UInt32(chunk)) else { continue }
      for (index, word) in words.enumerated() { unsafe map[index] = word }
    }
    unsafe linear_recount(pool)
  }

  /// The bitmaps, the chunk searched first first.
  var words: [[UInt64]] {
    (0..<shape.chunks).map { chunk in
      guard let map = unsafe linear_map(pool, UInt32(chunk)) else { return [] }
      return (0..<(unsafe linear_words(pool))).map { unsafe map[$0] }
    }
  }

  @inline(__always)
  func allocate(_ count: Int, at place: UInt64) -> UInt64? {
    let isFirst = fit == .fixed && place == .max
    let got = unsafe linear_allocate(
      pool, UInt64(count), isFirst ? LINEAR_FIRST : fit.linear, fit == .fixed ? place : 4)
    return got == .max ? nil : got
  }

  @inline(__always)
  func free(_ handle: UInt64, _ count: Int) { unsafe linear_free(pool, handle, UInt64(count)) }
}

/// The bins, which know no alignment, no offset and no chunks: one range of the same size.
// SAFETY: the pool is created in init and destroyed in deinit.
@safe
final class BinnedSubject: Subject {
  private let pool: OpaquePointer

  init?(_ shape: PoolShape, lock: binned_lock = BINNED_SPINLOCK) {
    // Paid in advance: half a pool of single granules is more than the work ever holds.
    guard
      let pool = unsafe binned_create(
        UInt32(shape.total), UInt32(shape.total / 2 + 1), lock)
    else { return nil }
    unsafe self.pool = pool
  }

  deinit { unsafe binned_destroy(pool) }

  var byteCount: Int { unsafe binned_bytes(pool) }

  @inline(__always)
  func allocate(_ count: Int, at place: UInt64) -> UInt64? {
    let got = unsafe binned_allocate(pool, UInt32(truncatingIfNeeded: count))
    return got.node == .max ? nil : UInt64(got.node) << 32 | UInt64(got.first)
  }

  @inline(__always)
  func free(_ handle: UInt64, _ count: Int) {
    unsafe binned_free(
      pool,
      binned_allocation(
        first: UInt32(truncatingIfNeeded: handle), node: UInt32(truncatingIfNeeded: handle >> 32)))
  }
}
