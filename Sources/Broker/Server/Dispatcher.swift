import BrokerProtocol
import Logging

/// Answers calls: those that concern connections alone itself, the others through the handler.
///
/// Invariant: each call that wants a reply gets exactly one, a result or an error, or its
/// connection ends.
final class Dispatcher {
  /// The broker's version, in Hello and GetInfo.
  var version: String {
    get { service.version }
    set { service.version = newValue }
  }

  private unowned let server: Server
  private unowned let handler: any CallHandler
  private let logger: Logger
  private let limiter: LogRateLimiter
  private let service: ServiceInterface

  init(
    _ server: Server, _ handler: any CallHandler, version: String, _ logger: Logger,
    _ limiter: LogRateLimiter
  ) {
    self.server = server
    self.handler = handler
    self.logger = logger
    self.limiter = limiter
    service = ServiceInterface(version: version)
  }

  /// Answers a call, now or, if it has to wait for memory, later.
  /// - Throws: MalformedMessage when `frame` is no call.
  func answer(_ frame: [UInt8], of session: Session) throws(MalformedMessage) {
    let call = try ReceivedCall(frame: frame)
    // The bound on replies that wait does not hold back a client that wants none, and questions can
    // be costly.
    if call.oneway || session.isHungUp, call.isQuestion { return }
    answer(call, of: session) { () throws(BrokerError) in try reply(to: call, of: session) }
  }

  /// Answers a call with the result of `body`, which is nil when it comes later, or with its error.
  func answer(
    _ call: ReceivedCall, of session: Session,
    by body: () throws(BrokerError) -> OutputQueue.Message?
  ) {
    do throws(BrokerError) {
      guard let message = try body() else { return }
      if !call.oneway { session.send(message) }
    } catch {
      refuse(call, of: session, because: error)
    }
  }

  /// Makes the next reply of a session's listing.
  func answerMore(_ session: Session) {
    guard let listing = session.listing else { return }
    do throws(BrokerError) {
      let page = try listing.next()
      if page.isLast { session.endListing() }
      if let message = page.message { session.send(message) }
    } catch {
      session.endListing()
      refuse(listing.call, of: session, because: error)
    }
  }

  private func refuse(_ call: ReceivedCall, of session: Session, because failure: BrokerError) {
    var metadata = session.metadata(cause: failure.description)
    metadata["method"] = "\(printable(call.method))"
    metadata["error"] = "\(failure.name)"
    limiter.log(.notice, "refused", of: session.account, metadata)
    handler.refused(because: failure)
    guard !call.oneway else { return }
    do throws(UnencodableMessage) {
      session.send(OutputQueue.Message(bytes: try Reply.frame(error: failure)))
    } catch {
      // Leaving the answer out would shift all later answers.
      logger.error("no answer", metadata: session.metadata(cause: "\(error)"))
      server.close(session)
    }
  }

  /// The reply; nil when it comes later.
  private func reply(
    to call: ReceivedCall, of session: Session
  ) throws(BrokerError) -> OutputQueue.Message? {
    let isKnown =
      Broker1.methods.contains(call.method) || VarlinkService.methods.contains(call.method)
    guard isKnown else { throw call.unknownMethod }
    // No method leads out of varlink. There is no error for that; this one is the closest.
    if call.upgrade { throw .methodNotImplemented(method: call.method) }
    switch call.method {
    case VarlinkService.GetInfo.name: return try service.information(call)
    case VarlinkService.GetInterfaceDescription.name: return try service.description(call)
    case Broker1.Hello.name:
      return try call.reply(of: Broker1.Hello.self) { hello(session, $0) }
    case Broker1.Monitor.name: return try monitor(call, by: session)
    default: return try handler.reply(to: call, of: session)
    }
  }

  private func hello(_ session: Session, _ parameters: Broker1.Hello.Parameters)
    -> Broker1.Hello.Reply
  {
    session.setName(parameters.client)
    var metadata = session.metadata
    metadata["client"] = "\(printable(parameters.client ?? "unnamed"))"
    limiter.log(.info, "hello", of: session.account, metadata)
    return Broker1.Hello.Reply(
      session: session.name, version: version, uid: session.user, pid: session.process.pid,
      admin: session.isAdmin)
  }

  /// Monitor: events are sent to the connection from now on. It takes no further call.
  private func monitor(
    _ call: ReceivedCall, by session: Session
  ) throws(BrokerError) -> OutputQueue.Message? {
    let _ = try call.parameters(as: Broker1.Monitor.Parameters.self)
    guard call.more else { throw .expectedMore }
    // A client that wants no replies gets no events.
    guard !call.oneway, !session.isHungUp else { return nil }
    server.addMonitor(session)
    return try OutputQueue.Message(
      Broker1.Monitor.Reply(event: Broker1.Event(event: .started)), continues: true)
  }
}
