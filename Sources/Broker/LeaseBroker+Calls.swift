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
      return try listDevices(call, for: session)
    case Broker1.ListPools.name:
      return try listPools(call, for: session)
    case Broker1.DescribePool.name:
      return try call.reply(of: Broker1.DescribePool.self) { parameters throws(BrokerError) in
        var details = try regions.details(ofPool: parameters.pool)
        details.pool.mayLease = regions.mayLease(of: details.pool.name, session.caller)
        return details
      }
    case Broker1.ListLeases.name:
      return try listLeases(call, for: session)
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
        let region = try regions.attach(parameters, byAdmin: true, audit: session.metadata)
        return Broker1.Attach.Reply(pool: region.description(for: session.caller))
      }
    case Broker1.DrainPool.name:
      return try call.reply(of: Broker1.DrainPool.self) { parameters throws(BrokerError) in
        try session.requireAdmin()
        var pool = try regions.setDrained(
          parameters.undo != true, pool: parameters.pool, audit: session.metadata)
        pool.mayLease = regions.mayLease(of: parameters.pool, session.caller)
        return Broker1.DrainPool.Reply(pool: pool)
      }
    case Broker1.Detach.name:
      return try call.reply(of: Broker1.Detach.self) { parameters throws(BrokerError) in
        try session.requireAdmin()
        return try regions.detach(
          pool: parameters.pool, byAdmin: true, audit: session.metadata)
      }
    default: throw call.unknownMethod
    }
  }

  func refused(because failure: BrokerError) { regions.count(failure) }

  // MARK: The end of connections and processes

  func hangUp(of session: Session) { endWait(of: session) }

  /// Its leases stay its process's until that dies.
  func end(of session: Session) {
    endWait(of: session)
    let count = leases.orphan(session.id)
    guard count > 0 else { return }
    var metadata = session.metadata
    metadata["leases"] = "\(count)"
    limiter.log(.info, "orphaned", of: session.account, metadata)
  }

  func death(of process: ProcessID) { bury(process) }

  func isHolder(_ process: ProcessID) -> Bool {
    regions.isHolder(process) || leases.isHolder(process)
  }
}
