import Synchronization

extension RangeAllocator {
  /// The number of storages that were ever made, those that wait for another chunk included. For
  /// tests: it does not grow by chunks that come and go. O(storages).
  package var storageCount: Int { withState { ChunkList.storageCount($0.books) } }

  /// Checks what must hold between any two operations, and traps with the broken rule otherwise.
  /// For tests and debugging. O(granules), and no one else may use the pool meanwhile.
  package func checkInvariants() {
    if let rule = list.brokenRule() { preconditionFailure(rule) }
    list.forEach { chunk in
      withBitmap(of: chunk) { bitmap in
        let allocated = granule.bytes(bitmap.allocatedCount)
        precondition(
          chunk.pointee.available.load(ordering: .relaxed)
            == (chunk.pointee.size - allocated).rawValue,
          "available = size - allocated granules")
        precondition(
          bitmap.count == granule.granules(within: chunk.pointee.size),
          "a bit for each whole granule")
      }
      if let rule = chunk.pointee.brokenSlabRule { preconditionFailure(rule) }
      // Nobody else is there: no lock.
      if let rule = chunk.pointee.state.value.index.brokenRule { preconditionFailure(rule) }
      precondition(
        chunk.pointee.longest.load(ordering: .relaxed)
          == chunk.pointee.state.value.index.longest.rawValue,
        "longest = the longest free run")
    }
  }
}
