extension Pool {
  /// What the kernel's `gen_pool_virt_to_phys` answers: all ones for an address in no chunk; in a
  /// chunk without a physical address, all ones plus the distance from its start, which wraps.
  /// O(chunks).
  package func kernelPhysicalAddress(of address: VirtualAddress) -> UInt64 {
    withChunk(at: address) { (chunk, offset) in
      (chunk.identity.physical?.rawValue ?? .max) &+ offset.rawValue
    } ?? .max
  }

  /// The address that the kernel's `gen_pool_dma_alloc` stores for a device. In a chunk that was
  /// added as addresses alone it is the physical one, as ``kernelPhysicalAddress(of:)`` answers.
  /// Memory of a device has its bus address, and nil when that is not known: any other would lead a
  /// device elsewhere. O(chunks).
  package func kernelDMAAddress(of address: VirtualAddress) -> UInt64? {
    let known: UInt64?? = withChunk(at: address) { (chunk, offset) in
      if let bus = chunk.identity.bus { return (bus + offset).rawValue }
      return chunk.backing == nil
        ? .some((chunk.identity.physical?.rawValue ?? .max) &+ offset.rawValue) : .none
    }
    return known ?? .max
  }

  /// Visits each chunk, newest first, with the words of its map, without its lock: the words change
  /// while other threads use the pool, and `body` may use it too. No chunk may be removed
  /// meanwhile. The kernel's `gen_pool_for_each_chunk`.
  @unsafe
  package func forEachUnlockedChunk(_ body: (Chunk, UnsafeMutablePointer<UInt>) -> Void) {
    list.forEach { chunk in
      unsafe chunk.pointee.state.value.index.bitmap.withUnsafeWords { words in
        unsafe body(withState(of: chunk) { snapshot(chunk, $0) }, words)
      }
    }
  }
}
