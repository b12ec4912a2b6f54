/// The other addresses of what is in a pool.
extension Pool {
  /// The physical address of an address in the pool, allocated or not; nil when it is in no chunk
  /// or its chunk has none. The kernel's `gen_pool_virt_to_phys`. O(log chunks).
  public func physicalAddress(of address: VirtualAddress) -> PhysicalAddress? {
    withChunk(at: address) { (chunk, offset) in chunk.identity.physical.map { $0 + offset } } ?? nil
  }

  /// The bus address of an address in the pool, allocated or not; nil when it is in no chunk or
  /// its chunk has none. O(log chunks).
  public func busAddress(of address: VirtualAddress) -> BusAddress? {
    withChunk(at: address) { (chunk, offset) in chunk.identity.bus.map { $0 + offset } } ?? nil
  }

  /// The address in the pool that a physical address stands for, allocated or not; nil when it is
  /// in no chunk. O(chunks).
  public func virtualAddress(of address: PhysicalAddress) -> VirtualAddress? {
    first { $0.start(at: address, from: $0.physical) }
  }

  /// The address in the pool that a bus address stands for, allocated or not; nil when it is in no
  /// chunk. O(chunks).
  public func virtualAddress(of address: BusAddress) -> VirtualAddress? {
    first { $0.start(at: address, from: $0.bus) }
  }

  private func first(
    _ body: (ChunkStorage.Identity) -> AnyAddress?
  ) -> VirtualAddress? {
    let start = list.first { chunk in
      withState(of: chunk) { chunk.pointee.isRemoved ? nil : body($0.identity) }
    }
    return start.map { VirtualAddress($0) }
  }
}

extension ChunkStorage.Identity {
  /// The address in the chunk for which `address` stands, if the chunk's first byte is at `first`
  /// in that space; nil outside.
  fileprivate func start<Other>(
    at address: Address<Other>, from first: Address<Other>?
  ) -> AnyAddress? {
    guard let first, address >= first, address - first < size else { return nil }
    return start + (address - first)
  }
}
