import Synchronization

extension Pool {
  /// Checks what must hold between any two operations, and traps with the broken rule otherwise.
  /// For tests and debugging. O(words), and no one else may use the pool meanwhile.
  package func checkInvariants() {
    list.forEach { storage in
      withLock(storage) { chunk in
        let allocated = granule.bytes(chunk.bitmap.allocatedCount)
        precondition(
          chunk.available.load(ordering: .relaxed) == (chunk.size - allocated).rawValue,
          "available = size - allocated granules")
        precondition(
          chunk.bitmap.count.rawValue == Int(chunk.size.rawValue >> UInt64(granule.order)),
          "a bit for each whole granule")
      }
    }
  }
}
