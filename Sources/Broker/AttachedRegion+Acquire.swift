import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc

// What a pool makes of an Acquire.

extension AttachedRegion {
  /// Refuses everybody once the device does not answer.
  func refuseRevoked() throws(CallFailure) {
    if let failure { throw .broker(.poolRevoked(pool: name, cause: failure)) }
  }

  /// The refusal of `user` while another user's processes may reach the memory; nil when it may lease.
  func refusal(of user: UID) -> CallFailure? {
    guard isolation == .uidExclusive else { return nil }
    func busy(_ reason: Broker1.BusyReason, _ other: UID) -> CallFailure {
      .broker(
        .poolBusy(
          pool: name, reason: reason, uid: other, leases: leaseCount, holders: holders.count))
    }
    if let other = holders.values.joined().first(where: { $0 != user }) {
      return busy(.uidExclusive, other)
    }
    guard holders.isEmpty, let lastUser, lastUser != user else { return nil }
    switch answer {
    case .free: return nil
    case .reached: return busy(.uidExclusive, lastUser)
    case .unknown: return busy(.unseen, lastUser)
    }
  }

  /// What is told who may not overtake those that wait for this pool's memory.
  var queue: CallFailure {
    .broker(
      .poolBusy(
        pool: name, reason: .queue, uid: nil, leases: leaseCount, holders: holders.count))
  }

  /// Whether another user's processes, all dead by now, could write all of it since it was erased. A
  /// descriptor reaches the whole BAR, so scrubbing their leases alone did not make it clean.
  func isOthers(than user: UID) -> Bool {
    guard isolation == .uidExclusive, let lastUser else { return false }
    return lastUser != user
  }

  /// What a lease of `request` takes: whole granules.
  func size(of request: Broker1.Acquire.Parameters) throws(CallFailure) -> ByteCount {
    // Before rounding, which could leave what varlink's integers hold.
    guard request.bytes <= usable, let size = request.bytes.roundedUp(to: granule.byteCount) else {
      throw .broker(.poolTooSmall(pool: name, bytes: request.bytes, size: usable))
    }
    if let offset = request.offset {
      guard offset.isMultiple(of: granule.byteCount), offset <= usable - size else {
        throw .invalid("offset")
      }
    }
    return size
  }

  func fit(of request: Broker1.Acquire.Parameters) throws(CallFailure) -> Fit {
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
      throw .broker(
        .deviceError(
          operation: "align to \(alignment)", subject: label, errno: EINVAL,
          cause: "it has no multiple of that with room for \(request.bytes) behind it"))
    }
    if let bus {
      let bridge = bus.rawValue &- physical.rawValue
      guard bridge & (alignment.rawValue - 1) == 0 else {
        throw .broker(
          .deviceError(
            operation: "align to \(alignment)", subject: label, errno: EINVAL,
            cause: "the host bridge's offset between bus and physical addresses is no multiple"))
      }
    }
    return .firstAligned(alignment)
  }

  /// How taking memory goes.
  enum Taking {
    /// From this offset on.
    case taken(ByteCount)
    /// It may come free.
    case missing(Wait.Term, CallFailure)
  }

  /// Takes memory if there is some.
  func take(_ size: ByteCount, fit: Fit) throws(CallFailure) -> Taking {
    do {
      return .taken(try allocate(size, fit: fit))
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
  }

  private func missing(
    _ size: ByteCount, largest: ByteCount, alignment: ByteCount? = nil, offset: ByteCount? = nil
  ) -> Taking {
    let term: Wait.Term =
      scrubbing > .zero && size <= available + scrubbing ? .brief : .lasting
    guard size <= available else { return .missing(term, full(size)) }
    return .missing(
      term,
      .broker(
        .poolFragmented(
          pool: name, bytes: size, available: available, largestFree: largest,
          alignment: alignment, offset: offset)))
  }

  func full(_ size: ByteCount) -> CallFailure {
    .broker(.poolFull(pool: name, bytes: size, available: available))
  }
}
