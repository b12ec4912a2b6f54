import DeviceSources
public import GenPool

/// Memory that one initiator reaches, and at which address. Its end takes the memory from the
/// initiator, exactly once, and then lets go of both: by then no transfer may be under way.
///
/// It keeps the memory's region and the initiator's device open. So whoever hears that one of them
/// is to be removed (``RemovalRequests``) ends the mapping too.
public final class DMAMapping: Sendable {
  // Destroyed in this order: it is undone while the initiator is still there.

  /// Nil where nothing translates, and nothing is to be undone.
  private let translation: IOVAMapping?
  /// What is reached.
  public let memory: DMAMemory
  /// What the initiator is told for the first byte.
  public let address: DMAAddress
  /// Who reaches it.
  public let initiator: Initiator

  init(
    _ memory: DMAMemory, _ address: DMAAddress, of initiator: Initiator,
    translation: IOVAMapping?
  ) {
    self.memory = memory
    self.address = address
    self.initiator = initiator
    self.translation = translation
  }

  /// The address of a part of the memory, as of an allocation when all of its chunk is mapped.
  /// - Throws: when some of it lies outside.
  public func address(of start: VirtualAddress, size: ByteCount) throws(DMAError) -> DMAAddress {
    guard start >= memory.start, start - memory.start <= memory.size,
      size <= memory.size - (start - memory.start),
      let address = address.advanced(by: start - memory.start)
    else {
      throw .invalid(
        subject: "\(size) at \(start)",
        problem: "it is not within \(memory.label), which is what \(initiator.device) reaches")
    }
    return address
  }

  /// The memory of this process that `address` leads to; nil for another kind of address and
  /// outside.
  public func virtualAddress(of address: DMAAddress) -> VirtualAddress? {
    switch (address, self.address) {
    case (.bus, .bus), (.iova, .iova): break
    default: return nil
    }
    guard address.rawValue >= self.address.rawValue else { return nil }
    let offset = ByteCount(address.rawValue - self.address.rawValue)
    return offset < memory.size ? memory.start + offset : nil
  }
}
