import BrokerLeases
public import BrokerProtocol
public import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import Logging
import PCIDevices
import SystemPackage

// Pools come and go.

extension LeaseBroker {
  /// Makes a pool of a BAR, as the Attach call does. It is erased, and leases as it becomes clean.
  ///
  /// `isolation` may promise clients less than the device's opener does: `cooperative`.
  /// `isSearched` says that nobody named the device by its address.
  public func attach(
    _ parameters: Broker1.Attach.Parameters, isolation: Isolation? = nil, isSearched: Bool = false
  ) throws(BrokerError) -> Broker1.Pool {
    try attach(parameters, isolation, isSearched, audit: ownMetadata)
  }

  private func attach(
    _ parameters: Broker1.Attach.Parameters, _ isolation: Isolation?, _ isSearched: Bool,
    audit: Logger.Metadata
  ) throws(BrokerError) -> Broker1.Pool {
    let granule = try parameters.checkedGranule()
    try parameters.checkName()
    if let name = parameters.name, poolNames.contains(name) {
      throw .poolExists(pool: name)
    }
    let request = AttachRequest(
      try parameters.id(), allow: parameters.allow ?? [], isSearched: isSearched,
      source: try parameters.checkedSource() ?? .sysfs, mayErase: parameters.erase == true)
    let open: OpenBAR
    do {
      open = try provider.open(request)
    } catch {
      throw refusalByPool(of: error) ?? error
    }
    let (device, part) = (open.device, request.memory.part)
    let (region, onlyUser) = try regions.attach(
      open, named: parameters.name ?? "\(device)/\(part)", granule, isolation,
      specification: "\(device):\(part)", isForced: parameters.force == true,
      audit: audit)
    var metadata: Logger.Metadata = [
      "pool": "\(region.name)", "memory": "\(printable(region.label))", "size": "\(region.size)",
      "caching": "\(region.caching.rawValue)", "isolation": "\(region.isolation.rawValue)",
    ]
    if let source = region.source { metadata["source"] = "\(source.rawValue)" }
    if let allowed = parameters.allow, !allowed.isEmpty {
      metadata["allow"] = "\(printable(allowed.joined(separator: "+")))"
    }
    if parameters.force == true { metadata["forced"] = "yes" }
    if let user = onlyUser { metadata["onlyUid"] = "\(user)" }
    if region.witness != .fileLease, region.isolation == .uidExclusive {
      metadata["unseen"] = "\(region.blindness)"
    }
    logger.notice("attach", metadata: metadata.merging(audit) { $1 })
    publish(Broker1.Event(event: .regionAdded, pool: region.name))
    return region.description
  }

  /// What `error` is when the memory is a pool already: the pool is named, and trying again is no
  /// use.
  private func refusalByPool(of error: BrokerError) -> BrokerError? {
    guard case .deviceError(let operation, let subject, EBUSY, _) = error,
      let pool = regions.all.first(where: { subject == "BAR \($0.bar) of \($0.device)" })
    else { return nil }
    return .deviceError(
      operation: operation, subject: subject, errno: EADDRINUSE,
      cause: "pool \(pool.name) has it: genpoolctl pool detach \(pool.name)")
  }

  /// Attach, for admins.
  func attach(
    _ parameters: Broker1.Attach.Parameters, by session: Session
  ) throws(BrokerError) -> Broker1.Attach.Reply {
    guard session.isAdmin else { throw .permissionDenied }
    return Broker1.Attach.Reply(
      pool: try attach(parameters, nil, false, audit: session.metadata))
  }

  /// Detach, for admins. The BAR has been given back when the reply is sent.
  func detach(
    _ parameters: Broker1.Detach.Parameters, by session: Session
  ) throws(BrokerError) -> Broker1.Detach.Reply {
    guard session.isAdmin else { throw .permissionDenied }
    let region = try regions.named(parameters.pool)
    guard regions.isIdle(region) else { throw busy(region) }
    var reply = Broker1.Detach.Reply()
    if region.answer == .unknown {
      reply = .init(unseenUid: region.lastUser, witness: region.witness.rawValue)
    }
    regions.detach(region, byAdmin: true, audit: session.metadata)
    return reply
  }

  /// Gives every BAR back, whatever still reaches it: the broker ends, and all leases are void.
  func detachAll() {
    for region in regions.all {
      var metadata = ownMetadata
      metadata["cause"] = "the broker ends"
      metadata["leases"] = "\(region.leaseCount)"
      regions.detach(region, audit: metadata)
    }
  }

  // MARK: Draining

  /// The pools' names that are taken.
  public var poolNames: [String] { regions.names }

  /// Detaches a pool as soon as no process reaches its memory; none leases of it meanwhile. Returns
  /// what keeps it, if anything does: then ``onDrained`` will be told.
  public func drain(pool name: String) throws(BrokerError) -> BrokerError? {
    let region = try regions.named(name)
    return regions.drain(region, audit: ownMetadata) ? nil : busy(region)
  }

  /// Takes a ``drain(pool:)`` back that has not come to its end.
  public func keep(pool name: String) throws(BrokerError) {
    try regions.named(name).keep()
  }

  private func busy(_ region: AttachedRegion) -> BrokerError {
    .poolBusy(
      pool: region.name, reason: region.leaseCount > 0 ? .leases : .holders,
      uid: region.exclusiveUser(region.answer), leases: region.leaseCount,
      holders: region.strayCount)
  }

  /// Who does what nobody asked for over a connection: the broker.
  private var ownMetadata: Logger.Metadata { ["uid": "\(geteuid())", "pid": "\(getpid())"] }
}

extension Broker1.Attach.Parameters {
  fileprivate func checkedGranule() throws(BrokerError) -> GranuleSize {
    let size = granule ?? .page
    guard let granule = GranuleSize(size), size >= .page else { throw .invalid("granule") }
    return granule
  }

  fileprivate func checkedSource() throws(BrokerError) -> MemorySource? {
    guard let source else { return nil }
    guard let known = MemorySource(rawValue: source) else { throw .invalid("source") }
    return known
  }

  /// Names stand in tables, logs and command lines.
  fileprivate func checkName() throws(BrokerError) {
    guard let name else { return }
    let isPlain = name.unicodeScalars.allSatisfy { ("!"..."~").contains($0) }
    guard isPlain, (1...64).contains(name.unicodeScalars.count) else { throw .invalid("name") }
  }
}
