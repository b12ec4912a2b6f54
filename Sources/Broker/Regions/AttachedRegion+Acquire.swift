import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc

// A pool's part in the decision on an Acquire.

extension AttachedRegion: LeasablePool {
  /// Throws once the device does not answer.
  private func refuseRevoked() throws(BrokerError) {
    if let failure { throw .poolRevoked(pool: name, cause: failure) }
  }

  func occupation(against user: UID) -> LeaseDecision<Void> {
    guard isolation == .uidExclusive else { return .granted(()) }
    func busy(_ reason: Broker1.BusyReason, _ other: UID) -> BrokerError {
      .poolBusy(
        pool: name, reason: reason, uid: other, leases: leaseCount, holders: strayCount)
    }
    // Closed, it is for no user, that of its last holders included.
    if let lastUser, reopening == .underWay || reopening == .refused {
      let term: Wait.Term = reopening == .underWay ? .brief : .lasting
      return .mustWait(Wait(pools: [id: term], failure: busy(.uidExclusive, lastUser)))
    }
    var other = holders.values.joined().first { $0 != user } ?? lendings.user(otherThan: user)
    if other == nil, holders.isEmpty, lendings.isEmpty, let lastUser, lastUser != user {
      switch answer {
      case .free: break
      case .reached: other = lastUser
      case .unknown where canReopen:
        // The kernel will be asked while the Acquire waits.
        return .mustWait(Wait(pools: [id: .brief], failure: busy(.uidExclusive, lastUser)))
      // No wait ends that, so it keeps no place in the line either.
      case .unknown: return .denied(busy(.unseen, lastUser))
      }
    }
    guard let other else { return .granted(()) }
    return .mustWait(Wait(pools: [id: .lasting], failure: busy(.uidExclusive, other)))
  }

  var queued: BrokerError {
    .poolBusy(
      pool: name, reason: .queue, uid: nil, leases: leaseCount, holders: strayCount)
  }

  // A descriptor reaches the whole BAR, so scrubbing the other user's leases alone did not make it
  // clean.
  func isDirty(for user: UID) -> Bool {
    guard isolation == .uidExclusive, let lastUser else { return false }
    return lastUser != user
  }

  func size(of request: Broker1.Acquire.Parameters) throws(BrokerError) -> ByteCount {
    try refuseRevoked()
    // Before rounding, which could leave what varlink's integers hold.
    guard request.bytes <= usable, let size = request.bytes.roundedUp(to: granule.byteCount) else {
      throw .poolTooSmall(pool: name, bytes: request.bytes, size: usable)
    }
    if let offset = request.offset {
      guard offset.isMultiple(of: granule.byteCount), offset <= usable - size else {
        throw .invalid("offset")
      }
    }
    _ = try fit(of: request)
    return size
  }

  private func fit(of request: Broker1.Acquire.Parameters) throws(BrokerError) -> Fit {
    switch request.fit ?? .first {
    case .best: return .best
    case .orderAligned: return .orderAligned
    case .fixed: return .fixed(offset: request.offset ?? .zero)
    default: break
    }
    guard let alignment = request.alignment, alignment > granule.byteCount else { return .first }
    guard let physical else { return .firstAligned(alignment) }
    let first = ByteCount(physical.rawValue).roundedUp(to: alignment)
    guard let first, first - ByteCount(physical.rawValue) <= usable - request.bytes else {
      throw .deviceError(
        operation: "align to \(alignment)", subject: label, errno: EINVAL,
        cause: "it has no multiple of that with room for \(request.bytes) behind it")
    }
    if let bus {
      let bridge = bus.rawValue &- physical.rawValue
      guard bridge & (alignment.rawValue - 1) == 0 else {
        throw .deviceError(
          operation: "align to \(alignment)", subject: label, errno: EINVAL,
          cause: "the host bridge's offset between bus and physical addresses is no multiple")
      }
    }
    return .firstAligned(alignment)
  }

  func take(
    _ size: ByteCount, of request: Broker1.Acquire.Parameters, for user: UID
  ) throws(BrokerError) -> LeaseDecision<ByteCount> {
    let fit = try fit(of: request)
    let offset: ByteCount
    do {
      offset = try allocate(size, fit: fit)
    } catch .full {
      return missing(size, largest: pool.largestFreeRun)
    } catch .fragmented(_, _, let largest) {
      return missing(size, largest: largest)
    } catch .noAlignedRun(_, let alignment, let largest) {
      return missing(size, largest: largest, alignment: alignment)
    } catch .notFree(_, let offset) {
      return missing(size, largest: pool.largestFreeRun, offset: offset)
    } catch {
      throw .pool(error, label)
    }
    try lease(size, at: offset, to: user)
    return .granted(offset)
  }

  private func missing(
    _ size: ByteCount, largest: ByteCount, alignment: ByteCount? = nil, offset: ByteCount? = nil
  ) -> LeaseDecision<ByteCount> {
    let term: Wait.Term =
      scrubbing > .zero && size <= available + scrubbing ? .brief : .lasting
    let failure: BrokerError =
      size <= available
      ? .poolFragmented(
        pool: name, bytes: size, available: available, largestFree: largest,
        alignment: alignment, offset: offset) : full(size)
    return .mustWait(Wait(pools: [id: term], failure: failure))
  }

  func full(_ size: ByteCount) -> BrokerError {
    .poolFull(
      pool: name, bytes: size, available: available,
      erasing: scrubbing > .zero ? scrubbing : nil)
  }
}
