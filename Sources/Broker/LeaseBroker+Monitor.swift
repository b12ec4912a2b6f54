import BrokerLeases
import BrokerProtocol
import GenPool
import Logging

// Who is told what happens.

extension LeaseBroker {
  /// Monitor: makes a connection hear of all that it may know. It takes no further call.
  func monitor(
    _ call: ReceivedCall, by session: Session
  ) throws(CallFailure) -> OutputQueue.Message? {
    let _: Broker1.Monitor.Parameters = try parameters(of: call)
    guard call.more else { throw .service(.expectedMore) }
    // One who wants no replies hears nothing.
    guard !call.oneway, !session.isHungUp else { return nil }
    session.isMonitoring = true
    monitors[session.id] = session
    return OutputQueue.Message(bytes: try encode(Broker1.Event(event: .started)))
  }

  /// Tells the monitors. What concerns a lease is for its user and for admins, as in ListLeases.
  func publish(_ event: Broker1.Event) {
    guard !monitors.isEmpty else { return }
    do throws(CallFailure) {
      let message = OutputQueue.Message(bytes: try encode(event))
      for session in monitors.values where session.mayHear(event) {
        guard session.output.pendingByteCount < Session.outputMark else {
          // It missed something in any case, and shall know that.
          log(.notice, "dropped: it does not read", of: session.user, session.metadata)
          close(session)
          continue
        }
        session.send(message)
        schedule(session)
      }
    } catch {
      logger.error("no event", metadata: ["cause": "\(error)"])
    }
  }

  /// Tells that a lease's holder must use it no longer.
  func publishRevocation(of lease: LeaseTable.Entry, because cause: String) {
    publish(
      Broker1.Event(
        event: .leaseRevoked, pool: regions.first { $0.id == lease.region }?.name, lease: lease.id,
        generation: lease.generation, uid: lease.user, pid: lease.pid, cause: cause))
  }

  private func encode(_ event: Broker1.Event) throws(CallFailure) -> [UInt8] {
    try encode(Broker1.Monitor.Reply(event: event), continues: true)
  }
}

extension Session {
  fileprivate func mayHear(_ event: Broker1.Event) -> Bool {
    isAdmin || event.uid == nil || event.uid == user
  }
}
