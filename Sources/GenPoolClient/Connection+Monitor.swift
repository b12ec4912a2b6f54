public import BrokerProtocol

extension Connection {
  /// Hears what happens to pools, and to this user's leases; to those of all users for admins.
  ///
  /// Blocks, and all other calls on this connection throw from then on: use a connection of its own. The
  /// first event, `started`, comes at once. Returns when `handle` returns false; the connection can do
  /// nothing else then.
  /// - Throws: also when the broker hangs up, as it does on a monitor that reads too slowly; what
  ///   happened meanwhile has to be looked up.
  public func monitor(_ handle: (Broker1.Event) -> Bool) throws(ClientError) {
    try stream(Broker1.Monitor.self, .init()) { handle($0.event) }
  }

  /// The same for programs that wait for something else as well.
  /// - Throws: when the broker does not answer; `handle` of ``monitor(_:)`` would hear `started` by then.
  public func events() throws(ClientError) -> EventStream { try EventStream(self) }

  /// Takes a lease back from its holder, as it is then. For admins: connections to
  /// `BrokerSocket.admin`. The memory stays out of use until the holder has released the lease or died.
  public func forceRelease(_ lease: LeaseID) throws(ClientError) -> Broker1.Lease {
    try call(Broker1.ForceRelease.self, .init(lease: lease)).lease
  }
}

/// What happens to pools and leases, without waiting for it. Takes a connection of its own.
public final class EventStream: Sendable {
  private let connection: Connection

  fileprivate init(_ connection: Connection) throws(ClientError) {
    self.connection = connection
    _ = try connection.start(Broker1.Monitor.self, .init())
  }

  /// Readable when there is something to take with ``next()``: for poll, or for epoll level-triggered.
  public var descriptor: CInt { connection.descriptor }

  /// The next event; nil when none has come. Never waits. Take all there are: what has come with another
  /// one does not make the descriptor readable again.
  /// - Throws: also when the broker hangs up, as it does on who reads too slowly.
  public func next() throws(ClientError) -> Broker1.Event? {
    try connection.nextReply(to: Broker1.Monitor.self, before: .now)?.reply.event
  }
}
