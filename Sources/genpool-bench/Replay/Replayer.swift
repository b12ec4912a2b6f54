import GenPool
import Synchronization

/// Does what a trace says and compares every answer with the kernel's.
///
/// genpool refuses a few things that the kernel answers with nonsense: alignments of 0, chunks at
/// virtual address 0, overlapping chunks, ranges that wrap. Where a trace contains one, the refusal
/// is counted as such; if the pool cannot follow the trace from there on, the rest of that pool's
/// records is set aside. Everything else must be equal to the letter.
struct Replayer {
  /// An answer that differs.
  struct Mismatch {
    let record: Trace.Record
    let got: String
  }

  private(set) var recordCount = 0
  private(set) var refusalCount = 0
  private(set) var setAsideCount = 0
  private(set) var mismatches: [Mismatch] = []
  /// The allocations that failed when they were recorded.
  private(set) var failures: [FailedAllocation] = []

  private var pool = Pool(granule: GranuleSize(order: 0))
  private var allocations: [UInt64: (start: VirtualAddress, size: ByteCount)] = [:]
  private let warningCount = WarningCount()
  private var isSetAside = false
  /// The pool's own.
  private var fit = Fit.first
  /// Why the last allocation failed.
  private var lastError: PoolError?

  private final class WarningCount: Sendable {
    let value = Atomic<UInt64>(0)
  }

  /// What became of a record.
  private enum Outcome {
    case answer(String)
    /// Refused on purpose, with no effect in the kernel either: the trace goes on.
    case refused
    /// Refused on purpose: the pool cannot follow the trace any more.
    case refusedForGood
  }

  /// Replays a trace from a fresh state; counts add up over traces.
  mutating func replay(_ trace: Trace) {
    isSetAside = false
    for record in trace.records {
      recordCount += 1
      if case .create = record.operation { isSetAside = false }
      if isSetAside {
        setAsideCount += 1
        continue
      }
      var failure = record.failedRequest.map { size, fit in
        FailedAllocation(record, size: size, fit: fit ?? self.fit, in: pool)
      }
      lastError = nil
      let outcome = outcome(of: record)
      if let lastError { failure?.explain(by: lastError) }
      if let failure { failures.append(failure) }
      switch outcome {
      case .answer(let got):
        if got != (record.answer ?? "") { mismatches.append(Mismatch(record: record, got: got)) }
      case .refused:
        refusalCount += 1
      case .refusedForGood:
        refusalCount += 1
        isSetAside = true
      }
    }
  }

  private mutating func outcome(of record: Trace.Record) -> Outcome {
    switch record.operation {
    case .create(let order):
      create(order: order)
      return .answer("")
    case .addChunk(let start, let physical, let size, let owner):
      return addChunk(start, physical, size, owner)
    case .setFit(let fit):
      do {
        try pool.setFit(fit)
        self.fit = fit
        return .answer("")
      } catch { return .refusedForGood }
    case .allocate(let id, let size, let fit):
      return .answer(allocate(id, size, fit))
    case .allocateDMA(let id, let size, let fit):
      let pool = pool
      return .answer(
        allocateDMA(id, size) { () throws(PoolError) in try pool.allocateDMA(size, fit: fit) })
    case .allocateDMAAligned(let id, let size, let alignment):
      let pool = pool
      return .answer(
        allocateDMA(id, size) { () throws(PoolError) in
          try pool.allocateDMA(size, alignment: alignment)
        })
    case .free(let id):
      guard let (start, size) = allocations.removeValue(forKey: id) else {
        return .answer("no allocation \(hex(id))")
      }
      return free(start, size, wanted: record.answer)
    case .freeRange(let start, let size):
      return free(start, size, wanted: record.answer)
    case .freeStrided(let start, let size, let stride, let count):
      return .answer(freeStrided(start, size, stride, count))
    case .contains(let start, let size):
      if size > .zero, start.advanced(by: size - 1) == nil, record.answer == "1" { return .refused }
      return .answer(pool.contains(start, size: size) ? "1" : "0")
    case .physicalAddress(let address): return .answer(hex(kernelPhysicalAddress(of: address)))
    case .available: return .answer(hex(pool.available.rawValue))
    case .size: return .answer(hex(pool.size.rawValue))
    case .chunks: return .answer(chunks())
    case .fingerprint: return .answer(Fingerprint(of: pool).description)
    case .warnings: return .answer(hex(warningCount.value.load(ordering: .relaxed)))
    case .destroy: return .answer(destroy())
    case .place(let fit, let request, let granules, let words):
      guard let bitmap = GranuleBitmap(count: GranuleCount(granules), words: words) else {
        return .answer("no memory")
      }
      return .answer(fit.place(request, in: bitmap).map { hex(UInt64($0.rawValue)) } ?? "-")
    }
  }

  private mutating func create(order: Int) {
    let warnings = warningCount
    warnings.value.store(0, ordering: .relaxed)
    allocations.removeAll()
    fit = .first
    pool = Pool(granule: GranuleSize(order: order)) { _ in
      warnings.value.add(1, ordering: .relaxed)
    }
  }

  private func addChunk(
    _ start: VirtualAddress, _ physical: PhysicalAddress?, _ size: ByteCount, _ owner: UInt64
  ) -> Outcome {
    do {
      try pool.add(
        start: start, size: size, physical: physical,
        owner: owner == 0 ? nil : Owner(UInt(owner)))
      return .answer("0")
    } catch {
      switch error {
      case .chunkAtZero, .chunkOverlaps, .chunkWraps: return .refusedForGood
      default: return .answer("-" + hex(UInt64(error.errorNumber)))
      }
    }
  }

  private mutating func allocate(_ id: UInt64, _ size: ByteCount, _ fit: Fit?) -> String {
    do {
      let allocation = try pool.allocate(size, fit: fit)
      allocations[id] = (allocation.start, size)
      return hex(allocation.start.rawValue) + " " + hex(allocation.owner)
    } catch {
      lastError = error
      return "0 0"
    }
  }

  private mutating func allocateDMA(
    _ id: UInt64, _ size: ByteCount, _ allocate: () throws(PoolError) -> DMAAllocation
  ) -> String {
    do {
      let allocation = try allocate()
      allocations[id] = (allocation.start, size)
      return hex(allocation.start.rawValue) + " "
        + hex(allocation.physical?.rawValue ?? kernelPhysicalAddress(of: allocation.start))
    } catch {
      lastError = error
      return "0 -"
    }
  }

  private func free(_ start: VirtualAddress, _ size: ByteCount, wanted: Substring?) -> Outcome {
    do {
      return .answer(hex(try pool.free(start, size: size)))
    } catch {
      let wraps = size > .zero && start.advanced(by: size - 1) == nil
      return wraps && wanted != "BUG" ? .refused : .answer("BUG")
    }
  }

  private func freeStrided(
    _ start: VirtualAddress, _ size: ByteCount, _ stride: UInt64, _ count: UInt64
  ) -> String {
    do {
      for index in 0..<count {
        let address = VirtualAddress(start.rawValue &+ index &* stride)
        try pool.free(address, size: size)
      }
      return "ok"
    } catch {
      return "BUG"
    }
  }

  private func destroy() -> String {
    do {
      try pool.destroy()
      return "ok"
    } catch {
      return "BUG"
    }
  }

  /// What the kernel says where genpool says nil: all-ones for no chunk, and for a chunk without a
  /// physical address all-ones plus the offset, which wraps.
  private func kernelPhysicalAddress(of address: VirtualAddress) -> UInt64 {
    if let physical = pool.physicalAddress(of: address) { return physical.rawValue }
    for chunk in pool.chunks where address.rawValue &- chunk.start.rawValue < chunk.size.rawValue {
      return UInt64.max &+ (address.rawValue &- chunk.start.rawValue)
    }
    return .max
  }

  private func chunks() -> String {
    pool.chunks.map { chunk in
      let fields = [
        chunk.start.rawValue, chunk.start.rawValue &+ chunk.size.rawValue &- 1,
        chunk.physical?.rawValue ?? .max, chunk.available.rawValue,
        UInt64(chunk.owner?.rawValue ?? 0),
      ]
      return fields.map(hex).joined(separator: ":")
    }.joined(separator: " ")
  }
}

/// The state of a pool in three numbers: how many free runs, the longest, and a hash over all of
/// them (FNV-1a over little-endian 64-bit values; FORMAT.md).
private struct Fingerprint: CustomStringConvertible {
  private var runs: UInt64 = 0
  private var largest: UInt64 = 0
  private var hash: UInt64 = 0xcbf2_9ce4_8422_2325

  init(of pool: Pool) {
    pool.forEachChunk { chunk, bitmap in
      mix(UInt64(chunk.granules.rawValue))
      bitmap.forEachFreeRun { run in
        runs += 1
        largest = max(largest, UInt64(run.count.rawValue))
        mix(UInt64(run.first.rawValue))
        mix(UInt64(run.count.rawValue))
        return true
      }
    }
  }

  private mutating func mix(_ value: UInt64) {
    for shift in stride(from: 0 as UInt64, to: 64, by: 8) {
      hash = (hash ^ (value >> shift & 0xff)) &* 0x100_0000_01b3
    }
  }

  var description: String { [runs, largest, hash].map(hex).joined(separator: " ") }
}

private func hex(_ value: UInt64) -> String { String(value, radix: 16) }

private func hex(_ owner: Owner?) -> String { hex(UInt64(owner?.rawValue ?? 0)) }
