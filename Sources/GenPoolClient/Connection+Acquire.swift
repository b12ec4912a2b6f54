public import BrokerProtocol
import DeviceMemory
public import GenPool
import LinuxSystem
import SystemPackage

extension Connection {
  /// Leases `size` bytes and maps them.
  ///
  /// - Parameters:
  ///   - size: in bytes; rounded up to the pool's granule.
  ///   - pool: the pool's name; nil for the first that can.
  ///   - alignment: a power of two, of the physical and the bus address; with the first fit only.
  ///   - fit: how to pick among the free runs; nil for the first.
  ///   - offset: from the pool's start; with the fixed fit only.
  ///   - wait: how long to wait until memory comes free, those first who asked first; a year at most.
  ///     Nil for as long as memory is being scrubbed that would do, within the connection's `timeout`;
  ///     zero for not at all. Other calls on this connection wait meanwhile.
  ///   - label: for people, in lists and events: 1 to 64 printable ASCII characters. Nil for the
  ///     name that ``hello(as:)`` gave.
  /// - Throws: `broker` with `poolFull`, `poolFragmented`, `poolBusy` and others; `violation` when what
  ///   the broker lends is not what it says; `system` when it cannot be mapped. The lease is given
  ///   back then.
  public func acquire(
    _ size: ByteCount, from pool: String? = nil, alignment: ByteCount? = nil,
    fit: Broker1.FitName? = nil, offset: ByteCount? = nil,
    wait: Duration? = nil, label: String? = nil
  ) throws(ClientError) -> Lease {
    let request = Broker1.Acquire.Parameters(
      pool: pool, bytes: size, alignment: alignment, fit: fit, offset: offset,
      wait: wait.map { Milliseconds($0) }, label: label)
    var answer = try callTakingDescriptors(
      Broker1.Acquire.self, request, patience: request.wait?.duration ?? .zero)
    let grant = answer.reply.lease
    // From here on every way out gives the lease back.
    let claim = Claim(lease: grant.lease, generation: grant.generation, connection: self)
    let index = answer.reply.descriptor
    let count = answer.descriptors.count
    guard let descriptor = answer.descriptors.take(index) else {
      throw violation("descriptor \(index) is the lease's, but \(count) came")
    }
    if let lie = grant.contradiction(to: request) ?? grant.contradiction(to: descriptor) {
      throw violation(lie)
    }
    do {
      let region = try Region(
        mapping: DeviceRange(
          descriptor: descriptor, mapOffset: grant.mapOffset, size: grant.size,
          physical: grant.physical, bus: grant.bus,
          // Words of a newer broker are taken for what asks the most of this process.
          caching: Caching(rawValue: grant.caching) ?? .writeCombining,
          isolation: Isolation(rawValue: grant.isolation) ?? .cooperative,
          label: "lease \(grant.lease) of pool \(grant.pool)"))
      return Lease(region: region, grant: grant, claim: claim)
    } catch {
      throw .system(error)
    }
  }

  private func violation(_ cause: String) -> ClientError {
    .violation(ProtocolViolation(method: Broker1.Acquire.name, cause: cause))
  }
}

extension Broker1.Lease {
  /// What is not as `request` asked, or cannot be at all; nil when all is well.
  fileprivate func contradiction(to request: Broker1.Acquire.Parameters) -> String? {
    if size < request.bytes || size == .zero {
      return "a lease of \(size), while \(request.bytes) were asked for"
    }
    if let asked = request.pool, pool != asked {
      return "a lease of pool \(pool), while pool \(asked) was asked for"
    }
    if let asked = request.label, label != asked {
      return "a lease with label \(label ?? "none"), while \(asked) was asked for"
    }
    if let offset = request.offset, self.offset != offset {
      return "a lease at offset \(self.offset), while \(offset) was asked for"
    }
    if let alignment = request.alignment {
      if let physical, !physical.isAligned(to: alignment) {
        return "physical address \(physical) is not aligned to \(alignment)"
      }
      if let bus, !bus.isAligned(to: alignment) {
        return "bus address \(bus) is not aligned to \(alignment)"
      }
    }
    if let physical, physical.advanced(by: size - 1) == nil {
      return "\(size) from physical address \(physical) pass the end of all addresses"
    }
    if let bus, bus.advanced(by: size - 1) == nil {
      return "\(size) from bus address \(bus) pass the end of all addresses"
    }
    return nil
  }

  /// What `descriptor` does not have of this lease; nil when it has all of it.
  fileprivate func contradiction(to descriptor: borrowing Descriptor) -> String? {
    let page = ByteCount(pageSize)
    guard mapOffset.isMultiple(of: page), size.isMultiple(of: page) else {
      return "\(size) at offset \(mapOffset) are not whole pages"
    }
    // Counts come as signed integers, so the sum cannot pass 2^64.
    guard let length = descriptor.fileLength, length < mapOffset + size else { return nil }
    return "the descriptor is \(length) long, the lease \(size) at offset \(mapOffset) of it"
  }
}
