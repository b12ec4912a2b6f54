import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import LinuxSystem

// A region, and leases of it, as clients see them.

extension AttachedRegion {
  /// The device stopped answering.
  var isRevoked: Bool { failure != nil }

  private var state: Broker1.PoolState {
    if isRevoked { return .revoked }
    guard isDraining else { return .active }
    // One that is given up is detached as soon as it could be called drained.
    return drainAudit == nil && adminDrain == .complete ? .drained : .draining
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
    description.access = policy.access?.description
    description.recordFile = recording.flatMap { $0.file.isOpen ? $0.file.path : nil }
    description.recordFailure = (recordFailure ?? recording?.file.failure)?.description
    return description
  }

  /// The region with its chunks and free runs, as DescribePool returns it. O(free runs).
  var details: Broker1.DescribePool.Reply {
    let limit = Broker1.DescribePool.Reply.freeRunLimit
    let runs = isRevoked ? [] : pool.freeRuns()
    return Broker1.DescribePool.Reply(
      pool: description,
      chunks: pool.chunks.map { chunk in
        Broker1.Chunk(
          physical: physical, bus: chunk.bus, size: chunk.size,
          available: isRevoked ? .zero : available)
      },
      freeRuns: runs.prefix(limit).map {
        Broker1.FreeRun(offset: $0.start - start, size: $0.size)
      },
      moreFreeRuns: runs.count > limit,
      largestFree: largestFree(in: runs))
  }

  /// The largest lease for each alignment, from the granule on, as far as one fits.
  private func largestFree(in runs: [RangeAllocator<PhysicalSpace>.FreeRun]) -> [Broker1
    .LargestFree]
  {
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

  // MARK: Leases

  /// A lease of it as its clients see it.
  func describe(_ lease: LeaseTable.Entry) -> Broker1.Lease {
    Broker1.Lease(
      lease: lease.id, generation: lease.generation, pool: name, offset: lease.offset,
      size: lease.size, physical: physical.map { $0 + lease.offset },
      bus: bus.map { $0 + lease.offset }, mapOffset: mapOffset + lease.offset,
      caching: caching.rawValue, isolation: isolation.rawValue, uid: lease.user, pid: lease.pid,
      state: lease.state, label: lease.label)
  }

  /// The event that a lease's holder must use it no longer.
  func revocation(of lease: LeaseTable.Entry, because cause: String) -> Broker1.Event {
    Broker1.Event(
      event: .leaseRevoked, pool: name, lease: lease.id, generation: lease.generation,
      uid: lease.user, pid: lease.pid, cause: cause, label: lease.label)
  }

  /// The event that little of it is left.
  var pressure: Broker1.Event {
    Broker1.Event(event: .pressure, pool: name, available: available)
  }

  /// The error for a Detach while it is in use.
  var busy: BrokerError {
    .poolBusy(
      pool: name, reason: leaseCount > 0 ? .leases : .holders, uid: exclusiveUser(answer),
      leases: leaseCount, holders: strayCount)
  }
}
