public import BrokerProtocol
public import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import Logging
import SystemPackage

// Pools come and go.

extension LeaseBroker {
  /// Makes a pool of a BAR, as the Attach call does. It is erased, and leases as it becomes clean.
  ///
  /// `isolation` may promise clients less than the device's opener does: `cooperative`. `isSearched`
  /// says that nobody named the device by its address.
  public func attach(
    _ parameters: Broker1.Attach.Parameters, isolation: Isolation? = nil, isSearched: Bool = false
  ) throws(CallFailure) -> Broker1.Pool {
    try attach(parameters, isolation, isSearched, audit: ownMetadata)
  }

  private func attach(
    _ parameters: Broker1.Attach.Parameters, _ isolation: Isolation?, _ isSearched: Bool,
    audit: Logger.Metadata
  ) throws(CallFailure) -> Broker1.Pool {
    let granule = try parameters.checkedGranule()
    try parameters.checkName()
    if let name = parameters.name, poolNames.contains(name) {
      throw .broker(.poolExists(pool: name))
    }
    let source = try parameters.checkedSource()
    let request = AttachRequest(
      device: parameters.device, memory: try parameters.checkedMemory(), offset: parameters.offset,
      size: parameters.size, allow: parameters.allow ?? [], isSearched: isSearched, source: source,
      mayErase: parameters.erase == true)
    let open: OpenBAR
    do {
      open = try provider.open(request)
    } catch {
      throw refusalByPool(of: error) ?? error.failure
    }
    let device = open.device
    if open.range.source == .vfio, open.range.witnessAtOpening == .free {
      // The kernel did not open it before every process had let go of it.
      for old in regions where old.device == device && old.isAwaitedByKernel {
        forgetHolders(of: old)
        forgetIfGone(old)
      }
    }
    let region = try AttachedRegion(
      id: AttachedRegion.ID(rawValue: nextNumber()),
      name: parameters.name ?? "\(device)/\(parameters.part)", granule: granule,
      isolation: isolation, open: open)
    guard !regions.contains(where: { $0.name == region.name }) else {
      throw .broker(.poolExists(pool: region.name))
    }
    // The provider locks BARs against other processes. That descriptors of two pools of ours would
    // reach one BAR, and two users by them, is ours to refuse.
    if let other = regions.first(where: { $0.isInReach(of: region) }) {
      throw .broker(
        .deviceError(
          operation: "attach", subject: region.label, errno: EADDRINUSE,
          cause:
            "pool \(other.name) has a part of this \(other.bar == region.bar ? "BAR" : "device"), "
            + "and a descriptor reaches all of it"))
    }
    // A process that holds memory of a device that was removed would reach this one by it. Through VFIO the
    // kernel's answer at the opening rules that out.
    if let old = regions.first(where: {
      $0.isRevoked && $0.overlaps(region)
        && !($0.source == .vfio && region.source == .vfio && region.witnessAtOpening == .free)
    }) {
      throw .broker(
        .deviceError(
          operation: "attach", subject: region.label, errno: EBUSY,
          cause: "processes still hold pool \(old.name), which is revoked, at these addresses"))
    }
    let inherited = try admit(region, isForced: parameters.force == true, audit)
    regions.append(region)
    record(region)
    scrub(region, at: .zero, region.usable)
    var metadata: Logger.Metadata = [
      "pool": "\(region.name)", "memory": "\(printable(region.label))", "size": "\(region.size)",
      "caching": "\(region.caching.rawValue)", "isolation": "\(region.isolation.rawValue)",
    ]
    if let source = region.source { metadata["source"] = "\(source.rawValue)" }
    if let allowed = parameters.allow, !allowed.isEmpty {
      metadata["allow"] = "\(printable(allowed.joined(separator: "+")))"
    }
    if parameters.force == true { metadata["forced"] = "yes" }
    if let user = inherited.first { metadata["onlyUid"] = "\(user)" }
    if region.witness != .fileLease, region.isolation == .uidExclusive {
      metadata["unseen"] = "\(region.blindness)"
    }
    logger.notice("attach", metadata: metadata.merging(audit) { $1 })
    publish(Broker1.Event(event: .regionAdded, pool: region.name))
    return region.description
  }

  /// What `error` is when the memory is a pool already: the pool is named, and trying again is no use.
  private func refusalByPool(of error: ProviderError) -> CallFailure? {
    guard case .system(let error) = error, error.errno == .resourceBusy,
      let pool = regions.first(where: { error.subject == "BAR \($0.bar) of \($0.device)" })
    else { return nil }
    return .broker(
      .deviceError(
        operation: error.operation, subject: error.subject, errno: EADDRINUSE,
        cause: "pool \(pool.name) has it: genpoolctl pool detach \(pool.name)"))
  }

  /// Attach, for admins.
  func attach(
    _ parameters: Broker1.Attach.Parameters, by session: Session
  ) throws(CallFailure) -> Broker1.Attach.Reply {
    guard session.isAdmin else { throw .service(.permissionDenied) }
    return Broker1.Attach.Reply(
      pool: try attach(parameters, nil, false, audit: session.metadata))
  }

  /// Detach, for admins. The BAR has been given back when the reply is sent.
  func detach(
    _ parameters: Broker1.Detach.Parameters, by session: Session
  ) throws(CallFailure) -> Broker1.Detach.Reply {
    guard session.isAdmin else { throw .service(.permissionDenied) }
    let region = try region(named: parameters.pool)
    guard isIdle(region) else { throw .broker(busy(region)) }
    var reply = Broker1.Detach.Reply()
    if region.answer == .unknown {
      reply = .init(unseenUid: region.lastUser, witness: region.witness.rawValue)
    }
    detach(region, byAdmin: true, audit: session.metadata)
    return reply
  }

  /// - Parameter byAdmin: whether an admin asked for it, who is told what cannot be seen: nothing is kept on
  ///   record then.
  private func detach(
    _ region: AttachedRegion, byAdmin: Bool = false, audit: Logger.Metadata
  ) {
    for lease in leases.entries(in: region.id) { leases.remove(lease.id) }
    regions.removeAll { $0 === region }
    endRecord(of: region)
    var metadata = audit
    metadata["pool"] = "\(region.name)"
    if region.answer == .unknown {
      metadata["unseen"] = "\(region.blindness)"
      metadata["uid of the last lease"] = region.lastUser.map { "\($0)" }
    }
    closeRecord(of: region, forgets: byAdmin)
    region.close()
    logger.notice("detach", metadata: metadata)
    publish(Broker1.Event(event: .regionRemoved, pool: region.name))
    // Who waited for this pool has to hear that it is gone.
    scheduleRetry()
  }

  /// Gives every BAR back, whoever still reaches it: the broker ends, and all leases are void.
  func detachAll() {
    for region in regions {
      var metadata = ownMetadata
      metadata["cause"] = "the broker ends"
      metadata["leases"] = "\(region.leaseCount)"
      detach(region, audit: metadata)
    }
  }

  // MARK: Draining

  /// The pools' names that are taken.
  public var poolNames: [String] { regions.filter { !$0.isAwaitedByKernel }.map(\.name) }

  /// Detaches a pool as soon as nobody reaches its memory; nobody leases of it meanwhile. What keeps
  /// it, if anything does: then ``onDrained`` will be told.
  public func drain(pool name: String) throws(CallFailure) -> BrokerError? {
    let region = try region(named: name)
    region.isDraining = true
    scheduleRetry()
    guard isIdle(region) else {
      watchReach(of: region)
      return busy(region)
    }
    detach(region, audit: ownMetadata)
    return nil
  }

  /// Takes a ``drain(pool:)`` back that has not come to its end.
  public func keep(pool name: String) throws(CallFailure) {
    try region(named: name).isDraining = false
  }

  /// Detaches a region that is draining when its last holder has gone.
  func finishDraining(_ region: AttachedRegion) {
    guard region.isDraining, isIdle(region) else { return }
    // Whoever is told may attach, which is nothing for the middle of a loop over regions.
    loop.after(.zero) { [unowned self] in
      guard region.isDraining, isIdle(region), regions.contains(where: { $0 === region }) else {
        return
      }
      detach(region, audit: ownMetadata)
      onDrained(region.name)
    }
  }

  private func isIdle(_ region: AttachedRegion) -> Bool {
    forgetIdleHolders(of: region)
    return region.leaseCount == 0 && region.holders.isEmpty && region.answer != .reached
  }

  private func busy(_ region: AttachedRegion) -> BrokerError {
    .poolBusy(
      pool: region.name, reason: region.leaseCount > 0 ? .leases : .holders,
      uid: region.exclusiveUser, leases: region.leaseCount, holders: region.holders.count)
  }

  /// Who does what nobody asked for over a connection: the broker.
  private var ownMetadata: Logger.Metadata { ["uid": "\(geteuid())", "pid": "\(getpid())"] }
}

extension AttachedRegion {
  /// Whether what reaches one may reach the other, by its device or by its physical addresses.
  fileprivate func overlaps(_ other: AttachedRegion) -> Bool {
    if reach.overlaps(other.reach) { return true }
    guard let mine = physical.flatMap({ AddressRange(start: $0, size: size) }),
      let others = other.physical.flatMap({ AddressRange(start: $0, size: other.size) })
    else { return false }
    return mine.overlaps(others)
  }

  /// Whether a descriptor of either reaches the other's memory. Those that were revoked and closed are
  /// the kernel's matter.
  fileprivate func isInReach(of other: AttachedRegion) -> Bool {
    guard device == other.device, !(hasGone && source == .vfio) else { return false }
    return bar == other.bar || source == .vfio || other.source == .vfio
  }
}

extension Broker1.Refusal {
  /// A controller's persistent memory region is not erased unasked.
  public static func persistent(_ device: String) -> Self {
    Self(
      rule: "persistent", subject: "the persistent memory region of \(device)",
      cause: "what is in it was meant to last, and pools are erased", cure: "say erase=yes")
  }
}

extension Broker1.Attach.Parameters {
  fileprivate func checkedGranule() throws(CallFailure) -> GranuleSize {
    let size = granule ?? .page
    guard let granule = GranuleSize(size), size >= .page else { throw .invalid("granule") }
    return granule
  }

  /// What is to be opened. That the loss of what was meant to last was agreed to is the provider's to see.
  fileprivate func checkedMemory() throws(CallFailure) -> AttachRequest.Memory {
    if let bar {
      guard memory == nil else { throw .invalid("memory") }
      return .bar(bar)
    }
    guard let memory else { throw .invalid("bar") }
    // It is taken whole, as its registers have it.
    guard offset == nil else { throw .invalid("offset") }
    guard size == nil else { throw .invalid("size") }
    switch memory {
    case "cmb": return .controllerMemoryBuffer
    case "pmr": return .persistentMemoryRegion
    default: throw .invalid("memory")
    }
  }

  fileprivate func checkedSource() throws(CallFailure) -> MemorySource? {
    guard let source else { return nil }
    guard let known = MemorySource(rawValue: source) else { throw .invalid("source") }
    return known
  }

  /// Names stand in tables, logs and command lines.
  fileprivate func checkName() throws(CallFailure) {
    guard let name else { return }
    let isPlain = name.unicodeScalars.allSatisfy { ("!"..."~").contains($0) }
    guard isPlain, (1...64).contains(name.unicodeScalars.count) else { throw .invalid("name") }
  }
}
