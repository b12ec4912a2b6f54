import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import LinuxSystem
import Logging

// What looks and changes nothing.

extension LeaseBroker {
  var information: VarlinkService.GetInfo.Reply {
    VarlinkService.GetInfo.Reply(
      vendor: "genpool", product: "genpoold", version: configuration.version,
      url: "", interfaces: [VarlinkService.interface, Broker1.interface])
  }

  /// The reply, which is encoded once: it is long, and always the same.
  func describeInterface(
    _ parameters: VarlinkService.GetInterfaceDescription.Parameters
  ) throws(BrokerError) -> [UInt8] {
    let interface = parameters.interface
    if let known = encodedDescriptions[interface] { return known }
    let description =
      switch interface {
      case Broker1.interface: Broker1.interfaceDescription
      case VarlinkService.interface: VarlinkService.interfaceDescription
      default: throw .interfaceNotFound(interface: interface)
      }
    let reply = VarlinkService.GetInterfaceDescription.Reply(description: description)
    let bytes = try encode(reply)
    encodedDescriptions[interface] = bytes
    return bytes
  }

  func greet(_ session: Session, _ parameters: Broker1.Hello.Parameters) -> Broker1.Hello.Reply {
    var metadata = session.metadata
    metadata["client"] = "\(printable(parameters.client ?? "unnamed"))"
    limiter.log(.info, "hello", of: session.user, metadata)
    return Broker1.Hello.Reply(
      session: session.name, version: configuration.version, uid: session.user,
      pid: session.process.pid, admin: session.isAdmin)
  }

  func listDevices() throws(BrokerError) -> Broker1.ListDevices.Reply {
    Broker1.ListDevices.Reply(devices: try provider.devices())
  }

  func listPools() -> Broker1.ListPools.Reply {
    Broker1.ListPools.Reply(pools: regions.all.map(\.description))
  }

  func describePool(
    _ parameters: Broker1.DescribePool.Parameters
  ) throws(BrokerError) -> Broker1.DescribePool.Reply {
    let region = try regions.named(parameters.pool)
    let limit = Broker1.DescribePool.Reply.freeRunLimit
    let runs = region.isRevoked ? [] : region.pool.freeRuns()
    return Broker1.DescribePool.Reply(
      pool: region.description,
      chunks: region.pool.chunks.map { chunk in
        Broker1.Chunk(
          physical: chunk.physical, bus: chunk.bus, size: chunk.size,
          available: region.isRevoked ? .zero : region.available)
      },
      freeRuns: runs.prefix(limit).map {
        Broker1.FreeRun(offset: $0.start - region.start, size: $0.size)
      },
      moreFreeRuns: runs.count > limit,
      largestFree: region.largestFree(in: runs))
  }

  func listLeases(
    _ parameters: Broker1.ListLeases.Parameters, for session: Session
  ) throws(BrokerError) -> Broker1.ListLeases.Reply {
    let only = try parameters.pool.map { name throws(BrokerError) in try regions.named(name).id }
    let shown = leases.entries(in: only).filter { session.isAdmin || $0.user == session.user }
    return Broker1.ListLeases.Reply(leases: shown.compactMap(describe))
  }

  /// A lease as its clients see it; nil if its region has gone.
  func describe(_ lease: LeaseTable.Entry) -> Broker1.Lease? {
    regions[lease.region].map { region in
      Broker1.Lease(
        lease: lease.id, generation: lease.generation, pool: region.name, offset: lease.offset,
        size: lease.size, physical: region.physical.map { $0 + lease.offset },
        bus: region.bus.map { $0 + lease.offset }, mapOffset: region.mapOffset + lease.offset,
        caching: region.caching.rawValue, isolation: region.isolation.rawValue, uid: lease.user,
        pid: lease.pid, state: lease.state)
    }
  }

  /// What the log says of a lease.
  func metadata(of lease: LeaseTable.Entry) -> Logger.Metadata {
    let pool = regions[lease.region]?.name ?? "detached"
    return [
      "lease": "\(lease.id)", "generation": "\(lease.generation)", "pool": "\(pool)",
      "offset": "\(lease.offset)", "size": "\(lease.size)", "uid": "\(lease.user)",
      "pid": "\(lease.pid)",
    ]
  }
}

extension AttachedRegion {
  /// The device stopped answering.
  var isRevoked: Bool { failure != nil }

  private var state: Broker1.PoolState {
    isRevoked ? .revoked : isDraining ? .draining : .active
  }

  /// The region as its clients see it.
  var description: Broker1.Pool {
    let answer = answer
    var description = Broker1.Pool(
      name: name, device: device, bar: bar, offset: offset, size: size, physical: physical,
      bus: bus, numaNode: numaNode, granule: granule.byteCount, caching: caching.rawValue,
      isolation: isolation.rawValue, state: state, failure: failure,
      available: isRevoked ? .zero : available, dirty: isRevoked ? usable - leased : dirty,
      leased: leased, leases: leaseCount, holders: strayCount,
      largestFree: isRevoked ? .zero : pool.largestFreeRun, exclusiveUid: exclusiveUser(answer),
      source: source?.rawValue, removal: source?.removal.rawValue, witness: witness.rawValue,
      reach: answer.rawValue)
    description.statistics = Broker1.Statistics(
      allocations: counts.allocations, frees: counts.frees, peak: counts.peak,
      failedFull: counts.failedFull, failedFragmented: counts.failedFragmented,
      freeRuns: isRevoked ? 0 : pool.statistics.freeRuns,
      fragmentation: description.fragmentation)
    description.recordFile = recording.flatMap { $0.file.isOpen ? $0.file.path : nil }
    description.recordFailure = (recordFailure ?? recording?.file.failure)?.description
    return description
  }

  /// The largest lease for each alignment, from the granule on, as far as one fits.
  func largestFree(in runs: [GenPool.FreeRun]) -> [Broker1.LargestFree] {
    var answer: [Broker1.LargestFree] = []
    var alignment = granule.byteCount
    while alignment <= size {
      let sizes = runs.compactMap { run -> ByteCount? in
        let first = ByteCount(run.start.rawValue)
        guard let aligned = first.roundedUp(to: alignment), aligned < first + run.size else {
          return nil
        }
        return run.size - (aligned - first)
      }
      guard let largest = sizes.max() else { break }
      answer.append(Broker1.LargestFree(alignment: alignment, size: largest))
      alignment = alignment * 2
    }
    return answer
  }
}
