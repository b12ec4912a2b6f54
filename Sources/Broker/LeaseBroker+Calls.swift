import BrokerLeases
import BrokerProtocol
import Logging

// A call comes, or a client goes.

extension LeaseBroker: CallHandler {
  func reply(
    to call: ReceivedCall, of session: Session
  ) throws(BrokerError) -> OutputQueue.Message? {
    switch call.method {
    case Broker1.ListDevices.name:
      return try call.reply(of: Broker1.ListDevices.self) { _ throws(BrokerError) in
        Broker1.ListDevices.Reply(devices: try regions.devices())
      }
    case Broker1.ListPools.name:
      return try call.reply(of: Broker1.ListPools.self) { _ in
        Broker1.ListPools.Reply(pools: pools)
      }
    case Broker1.DescribePool.name:
      return try call.reply(of: Broker1.DescribePool.self) { parameters throws(BrokerError) in
        try regions.named(parameters.pool).details
      }
    case Broker1.ListLeases.name:
      return try call.reply(of: Broker1.ListLeases.self) { parameters throws(BrokerError) in
        try listLeases(parameters, for: session)
      }
    case Broker1.Acquire.name:
      return try acquire(call, for: session)
    case Broker1.Release.name:
      return try call.reply(of: Broker1.Release.self) { parameters throws(BrokerError) in
        try release(parameters, by: session)
      }
    case Broker1.ForceRelease.name:
      return try call.reply(of: Broker1.ForceRelease.self) { parameters throws(BrokerError) in
        try session.requireAdmin()
        return try forceRelease(parameters, by: session)
      }
    case Broker1.Attach.name:
      return try call.reply(of: Broker1.Attach.self) { parameters throws(BrokerError) in
        try session.requireAdmin()
        let region = try regions.attach(parameters, audit: session.metadata)
        return Broker1.Attach.Reply(pool: region.description)
      }
    case Broker1.Detach.name:
      return try call.reply(of: Broker1.Detach.self) { parameters throws(BrokerError) in
        try session.requireAdmin()
        return try regions.detach(pool: parameters.pool, audit: session.metadata)
      }
    default: throw call.unknownMethod
    }
  }

  private func listLeases(
    _ parameters: Broker1.ListLeases.Parameters, for session: Session
  ) throws(BrokerError) -> Broker1.ListLeases.Reply {
    let only = try parameters.pool.map { name throws(BrokerError) in try regions.named(name).id }
    let shown = leases.entries(in: only, for: session.user, isAdmin: session.isAdmin)
    return Broker1.ListLeases.Reply(leases: shown.compactMap(regions.describe))
  }

  func refused(because failure: BrokerError) { regions.count(failure) }

  // MARK: The end of connections and processes

  func hangUp(of session: Session) { endWait(of: session) }

  /// Its leases stay its process's until that dies.
  func end(of session: Session) {
    endWait(of: session)
    for lease in leases.orphan(session.id) {
      limiter.log(.info, "orphaned", of: lease.user, regions.metadata(of: lease))
    }
  }

  /// Its leases end, but for what its children and others have of them.
  func death(of process: ProcessID) {
    for lease in leases.held(by: process) {
      logger.notice("reclaim", metadata: regions.metadata(of: lease))
      end(lease)
    }
    regions.removeHolder(process)
    scheduleRetry()
  }

  func isHolder(_ process: ProcessID) -> Bool {
    regions.isHolder(process) || leases.isHolder(process)
  }
}
