import BrokerLeases
import BrokerProtocol
import GenPool
import Logging

// The effects of connections and their ends on leases, and events for those that monitor.

extension LeaseBroker: CallHandler {
  func hangUp(of session: Session) { unpark(session) }

  /// Its leases stay its process's until that dies.
  func end(of session: Session) {
    unpark(session)
    for lease in leases.orphan(session.id) {
      limiter.log(.info, "orphaned", of: lease.user, metadata(of: lease))
    }
  }

  /// Its leases end, but for what its children and others have of them.
  func death(of process: ProcessID) {
    for lease in leases.held(by: process) {
      logger.notice("reclaim", metadata: metadata(of: lease))
      end(lease)
    }
    regions.removeHolder(process)
    scheduleRetry()
  }

  func isHolder(_ process: ProcessID) -> Bool {
    regions.isHolder(process) || leases.isHolder(process)
  }

  // MARK: Monitors

  /// Monitor: makes a connection hear of all that it may know. It takes no further call.
  func monitor(
    _ call: ReceivedCall, by session: Session
  ) throws(BrokerError) -> OutputQueue.Message? {
    let _: Broker1.Monitor.Parameters = try parameters(of: call)
    guard call.more else { throw .expectedMore }
    // A client that wants no replies hears nothing.
    guard !call.oneway, !session.isHungUp else { return nil }
    server.addMonitor(session)
    return OutputQueue.Message(bytes: try encode(Broker1.Event(event: .started)))
  }

  /// Tells the monitors. What concerns a lease is for its user and for admins, as in ListLeases.
  func publish(_ event: Broker1.Event) {
    guard server.hasMonitors else { return }
    do throws(BrokerError) {
      server.publish(OutputQueue.Message(bytes: try encode(event))) { session in
        session.isAdmin || event.uid == nil || event.uid == session.user
      }
    } catch {
      logger.error("no event", metadata: ["cause": "\(error)"])
    }
  }

  /// Tells that a lease's holder must use it no longer.
  func publishRevocation(of lease: LeaseTable.Entry, because cause: String) {
    publish(
      Broker1.Event(
        event: .leaseRevoked, pool: regions[lease.region]?.name, lease: lease.id,
        generation: lease.generation, uid: lease.user, pid: lease.pid, cause: cause))
  }

  private func encode(_ event: Broker1.Event) throws(BrokerError) -> [UInt8] {
    try encode(Broker1.Monitor.Reply(event: event), continues: true)
  }
}
