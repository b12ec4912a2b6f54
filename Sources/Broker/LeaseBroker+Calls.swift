import BrokerProtocol
import Glibc
import Logging

// From a frame to an answer.

extension LeaseBroker {
  /// Methods that change nothing.
  private static let questions: Set = [
    VarlinkService.GetInfo.name, VarlinkService.GetInterfaceDescription.name,
    Broker1.ListDevices.name, Broker1.ListPools.name, Broker1.DescribePool.name,
    Broker1.ListLeases.name,
  ]

  /// Answers a call, now or, if it has to wait for memory, later. Throws when it is none.
  func answer(_ frame: [UInt8], of session: Session) throws(MalformedMessage) {
    let call = try ReceivedCall(frame: frame)
    // The bound on replies that wait does not hold back who wants none, and questions can be
    // costly.
    if call.oneway || session.isHungUp, Self.questions.contains(call.method) { return }
    do throws(BrokerError) {
      guard let message = try reply(to: call, of: session) else { return }
      if !call.oneway { session.send(message) }
    } catch {
      refuse(call, of: session, because: error)
    }
  }

  /// Answers a call with an error.
  func refuse(_ call: ReceivedCall, of session: Session, because failure: BrokerError) {
    var metadata = session.metadata(cause: failure.description)
    metadata["method"] = "\(printable(call.method))"
    metadata["error"] = "\(failure.name)"
    limiter.log(.notice, "refused", of: session.user, metadata)
    count(failure)
    guard !call.oneway else { return }
    do throws(UnencodableMessage) {
      session.send(OutputQueue.Message(bytes: try Reply.frame(error: failure)))
    } catch {
      abandon(session, because: error)
    }
  }

  /// Ends a connection whose call cannot be answered: leaving it out would shift all later answers.
  func abandon(_ session: Session, because error: UnencodableMessage) {
    logger.error("no answer", metadata: session.metadata(cause: "\(error)"))
    server.close(session)
  }

  /// The reply; nil when it comes later.
  private func reply(
    to call: ReceivedCall, of session: Session
  ) throws(BrokerError) -> OutputQueue.Message? {
    // No method leads out of varlink. There is no error for that; this one is the closest.
    let isKnown =
      Broker1.methods.contains(call.method) || VarlinkService.methods.contains(call.method)
    if call.upgrade, isKnown { throw .methodNotImplemented(method: call.method) }
    switch call.method {
    case VarlinkService.GetInfo.name:
      return try answer(call, VarlinkService.GetInfo.self) { _ in information }
    case VarlinkService.GetInterfaceDescription.name:
      return OutputQueue.Message(bytes: try describeInterface(parameters(of: call)))
    case Broker1.Hello.name:
      return try answer(call, Broker1.Hello.self) { greet(session, $0) }
    case Broker1.ListDevices.name:
      return try answer(call, Broker1.ListDevices.self) { _ throws(BrokerError) in try listDevices()
      }
    case Broker1.ListPools.name:
      return try answer(call, Broker1.ListPools.self) { _ in listPools() }
    case Broker1.DescribePool.name:
      return try answer(call, Broker1.DescribePool.self, with: describePool)
    case Broker1.ListLeases.name:
      return try answer(call, Broker1.ListLeases.self) { parameters throws(BrokerError) in
        try listLeases(parameters, for: session)
      }
    case Broker1.Acquire.name:
      return try acquire(call, for: session)
    case Broker1.Release.name:
      return try answer(call, Broker1.Release.self) { parameters throws(BrokerError) in
        try release(parameters, by: session)
      }
    case Broker1.ForceRelease.name:
      return try answer(call, Broker1.ForceRelease.self) { parameters throws(BrokerError) in
        try forceRelease(parameters, by: session)
      }
    case Broker1.Monitor.name:
      return try monitor(call, by: session)
    case Broker1.Attach.name:
      return try answer(call, Broker1.Attach.self) { parameters throws(BrokerError) in
        try attach(parameters, by: session)
      }
    case Broker1.Detach.name:
      return try answer(call, Broker1.Detach.self) { parameters throws(BrokerError) in
        try detach(parameters, by: session)
      }
    default:
      guard [Broker1.interface, VarlinkService.interface].contains(call.interface) else {
        throw .interfaceNotFound(interface: call.interface)
      }
      throw .methodNotFound(method: call.method)
    }
  }

  /// The reply of a method that answers at once.
  private func answer<Method: VarlinkMethod>(
    _ call: ReceivedCall, _ method: Method.Type,
    with body: (Method.Parameters) throws(BrokerError) -> Method.Reply
  ) throws(BrokerError) -> OutputQueue.Message {
    let reply = try body(parameters(of: call))
    return OutputQueue.Message(bytes: try encode(reply))
  }

  /// A call's parameters, checked for type and name.
  func parameters<Parameters: VarlinkParameters>(
    of call: ReceivedCall
  ) throws(BrokerError) -> Parameters {
    do {
      return try call.parameters(as: Parameters.self)
    } catch {
      throw error
    }
  }

  /// A reply's bytes. What cannot be said is a fault of ours or of the device's description.
  func encode(
    _ reply: some Encodable, continues: Bool = false
  ) throws(BrokerError) -> [UInt8] {
    do {
      return try Reply.frame(reply, continues: continues)
    } catch {
      throw .deviceError(
        operation: "describe", subject: error.field, errno: EOVERFLOW, cause: "too large")
    }
  }
}
