import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import Logging

// From dirty to free.

extension LeaseBroker {
  /// Hands a piece of allocated memory to the scrubber. It comes free slice by slice.
  func scrub(
    _ region: AttachedRegion, at offset: ByteCount, _ size: ByteCount, lease: LeaseID? = nil
  ) {
    let job = Scrubber.JobID(rawValue: nextNumber())
    region.begin(job, size: size, lease: lease)
    submit(job, region, at: offset, size)
  }

  private func submit(
    _ job: Scrubber.JobID, _ region: AttachedRegion, at offset: ByteCount, _ size: ByteCount
  ) {
    let granule = region.granule.byteCount
    let slice = max(configuration.scrubSlice.roundedDown(to: granule), granule)
    scrubber.submit(
      Scrubber.Job(
        id: job, memory: region.memory, offset: offset, size: size, slice: slice,
        since: region.moment))
  }

  /// Takes what the scrubber has finished.
  func settleFinished() {
    for slice in scrubber.takeFinished() {
      // None: its region was revoked or detached since.
      guard let region = regions.first(where: { $0.scrubs[slice.job] != nil }) else { continue }
      settle(slice, of: region)
    }
    retryParked()
  }

  private func settle(_ slice: Scrubber.FinishedSlice, of region: AttachedRegion) {
    switch slice.outcome {
    case .clean where slice.since.erasures < region.moment.erasures:
      submit(slice.job, region, at: slice.offset, slice.size)
    case .clean:
      do throws(PoolError) {
        guard let done = try region.settle(slice) else { return }
        leases.remove(done)
        logger.debug("clean", metadata: ["lease": "\(done)", "pool": "\(region.name)"])
      } catch {
        revoke(region, because: "its pool lost count: \(error)")
      }
    case .notZero(let fault):
      logger.warning("not zero", metadata: ["pool": "\(region.name)", "cause": "\(fault)"])
      if region.isReached {
        region.contest(slice)
      } else if slice.since.holderChanges < region.moment.holderChanges {
        submit(slice.job, region, at: slice.offset, slice.size)
      } else {
        // Nobody could write, so it is the device.
        revoke(region, because: "\(fault)")
      }
    case .failed(let fault): revoke(region, because: "\(fault)")
    case .closed: break
    }
  }

  /// Scrubs again what did not stay zero.
  func resubmitContested(_ region: AttachedRegion) {
    for slice in region.takeContested() { submit(slice.job, region, at: slice.offset, slice.size) }
  }

  /// Makes a region's free memory dirty, and with it all that its last user could have written.
  func erase(_ region: AttachedRegion) {
    do throws(PoolError) {
      for run in try region.takeFree() { scrub(region, at: run.offset, run.size) }
    } catch {
      revoke(region, because: "its pool lost count: \(error)")
    }
  }

  /// Gives a region up: its device does not answer, or not as memory. The others go on.
  func revoke(_ region: AttachedRegion, because cause: String) {
    guard !region.isRevoked else { return }
    logger.error("revoke", metadata: ["pool": "\(region.name)", "cause": "\(cause)"])
    // Jobs are queued still, and the address may become another device's.
    region.memory.stopScrubbing()
    region.revoke(because: cause)
    endRecord(of: region)
    publish(Broker1.Event(event: .regionRevoked, pool: region.name, cause: cause))
    for lease in leases.entries(in: region.id) {
      if lease.isHeld {
        leases.revoke(lease.id)
        // One that was revoked before has been told.
        if lease.state != .revoked { publishRevocation(of: lease, because: cause) }
      } else {
        leases.remove(lease.id)
      }
    }
    scheduleRetry()
  }
}
