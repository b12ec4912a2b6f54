import BrokerProtocol
import CLinux
import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import Logging

// Who has as much as it may.

extension LeaseBroker {
  /// What keeps a user from one more lease of `size`.
  enum QuotaVerdict {
    case within
    /// Until some of its memory is clean that is being scrubbed.
    case aboveForNow(CallFailure)
    /// Until it ends some lease.
    case above(CallFailure)
    /// Whatever it ends.
    case never(CallFailure)
  }

  /// How much of what a peer sent is taken before its connection is closed: more than fits a socket.
  private static let farewellRounds = 16

  /// O(1) within the quota, else O(leases).
  func quotaVerdict(on user: UID, size: ByteCount) -> QuotaVerdict {
    let limits = configuration.quotas.limits(of: user)
    let usage = leases.usage(of: user)
    guard let excess = usage.excess(over: limits, with: size) else { return .within }
    let failure = CallFailure.broker(excess)
    if Usage().excess(over: limits, with: size) != nil { return .never(failure) }
    var lasting = usage
    for lease in leases.quarantined(of: user) where isBeingScrubbed(lease) {
      lasting.bytes -= lease.size
      lasting.leases -= 1
    }
    return lasting.excess(over: limits, with: size) == nil
      ? .aboveForNow(failure) : .above(failure)
  }

  /// Whether a lease's memory comes clean without anybody's doing. Where somebody writes to it, it
  /// waits for the writer's end.
  private func isBeingScrubbed(_ lease: LeaseTable.Entry) -> Bool {
    guard let region = regions.first(where: { $0.id == lease.region }) else { return false }
    return !region.contested.contains { region.scrubs[$0.job]?.lease == lease.id }
  }

  /// Why `user` may not have another connection; nil when it may. O(1).
  func connectionExcess(of user: UID) -> BrokerError? {
    let used = connectionCounts[user] ?? 0
    if let limit = configuration.quotas.limits(of: user).connections, used >= limit {
      return .quotaExceeded(what: .connections, limit: limit, used: used)
    }
    guard user != .root else { return nil }
    let all = sessions.count - (connectionCounts[.root] ?? 0)
    let limit = configuration.connectionLimit
    return all < limit ? nil : .quotaExceeded(what: .allConnections, limit: limit, used: all)
  }

  /// Closes a connection that is one too many, and says why: the answer to whatever it was going to
  /// call. It does not wait for that call, or such connections would be held open for nothing.
  func turnAway(
    _ connection: borrowing Descriptor, of user: UID, because excess: BrokerError
  ) {
    log(.notice, "connection refused", of: user, ["uid": "\(user)", "cause": "\(excess)"])
    guard let reply = try? Reply.frame(error: excess) else { return }
    var farewell = OutputQueue()
    farewell.append(OutputQueue.Message(bytes: reply))
    // An empty socket takes it; who has gone already does not need it. What came has to be taken, or
    // the peer would learn of a reset instead: unix_release_sock() in net/unix/af_unix.c.
    try? farewell.flush(to: connection.rawValue)
    shutdown(connection.rawValue, CInt(SHUT_RD))
    var bytes = [UInt8](repeating: 0, count: Session.receiveSize)
    for _ in 0..<Self.farewellRounds {
      let count = unsafe bytes.withUnsafeMutableBytes { room in
        unsafe gl_receive(connection.rawValue, room.baseAddress, room.count, nil, nil)
      }
      guard count > 0 else { return }
    }
  }
}
