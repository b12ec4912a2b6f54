import BrokerLeases
import BrokerProtocol

// Lists, which can be long: in one reply up to a limit, else page by page, each made when the one
// before it was sent.

extension LeaseBroker {
  /// The most places of the lease table that are looked at for one page.
  private static let placesAtOnce = 16_384

  /// Answers with a list. `page` is given the most entries that its reply may have.
  private func list<Reply: Encodable>(
    _ call: ReceivedCall, for session: Session,
    _ page: @escaping (_ limit: Int) throws(BrokerError) -> (reply: Reply?, isLast: Bool)
  ) throws(BrokerError) -> OutputQueue.Message? {
    guard call.more else {
      let (reply, isLast) = try page(Listing.mostUnpaged)
      guard isLast, let reply else { throw .expectedMore }
      return try OutputQueue.Message(reply)
    }
    session.begin(
      Listing(call: call) { () throws(BrokerError) in
        let (reply, isLast) = try page(Listing.pageSize)
        let message = try reply.map { reply throws(BrokerError) in
          try OutputQueue.Message(reply, continues: !isLast)
        }
        return Listing.Page(message: message, isLast: isLast)
      })
    return nil
  }

  /// ListLeases: a lease that is there from the first page to the last is listed once.
  func listLeases(
    _ call: ReceivedCall, for session: Session
  ) throws(BrokerError) -> OutputQueue.Message? {
    let parameters = try call.parameters(as: Broker1.ListLeases.Parameters.self)
    let region = try parameters.pool.map { name throws(BrokerError) in try regions.id(ofPool: name)
    }
    var place = 0
    let user = session.isAdmin ? nil : session.user
    return try list(call, for: session) {
      [unowned self] limit -> (reply: Broker1.ListLeases.Reply?, isLast: Bool) in
      let steps = call.more ? Self.placesAtOnce : Int.max
      let (entries, isLast) = leases.page(
        from: &place, limit: limit, steps: steps, of: user, in: region)
      guard isLast || !entries.isEmpty else { return (nil, false) }
      return (Broker1.ListLeases.Reply(leases: entries.compactMap(regions.describe)), isLast)
    }
  }

  /// ListPools: in the order in which they were attached, then those that are waited for.
  func listPools(
    _ call: ReceivedCall, for session: Session
  ) throws(BrokerError) -> OutputQueue.Message? {
    _ = try call.parameters(as: NoParameters.self)
    var last: RegionID?
    var lastWaiting: RegionID?
    return try list(call, for: session) {
      [unowned self] limit -> (reply: Broker1.ListPools.Reply?, isLast: Bool) in
      let rest = regions.list.drop { region in last.map { region.id <= $0 } ?? false }
      let page = rest.prefix(limit)
      last = page.last?.id ?? last
      let waiting = regions.waiting.drop { one in lastWaiting.map { one.id <= $0 } ?? false }
      let waitingPage = waiting.prefix(limit - page.count)
      lastWaiting = waitingPage.last?.id ?? lastWaiting
      let caller = session.caller
      return (
        Broker1.ListPools.Reply(
          pools: page.map { $0.description(for: caller) }
            + waitingPage.map { $0.description(for: caller) }),
        page.count == rest.count && waitingPage.count == waiting.count
      )
    }
  }

  /// ListDevices: as they are after the call came.
  func listDevices(
    _ call: ReceivedCall, for session: Session
  ) throws(BrokerError) -> OutputQueue.Message? {
    _ = try call.parameters(as: NoParameters.self)
    session.beginWait()
    regions.listDevices { [unowned self] result in
      guard server.isThere(session.id), session.isWaiting else { return }
      session.endWait()
      server.answer(call, of: session) { () throws(BrokerError) in
        var rest = try result.get()[...]
        return try list(call, for: session) {
          limit -> (reply: Broker1.ListDevices.Reply?, isLast: Bool) in
          let page = rest.prefix(limit)
          rest = rest.dropFirst(limit)
          return (Broker1.ListDevices.Reply(devices: Array(page)), rest.isEmpty)
        }
      }
      server.proceed(session)
    }
    return nil
  }
}
