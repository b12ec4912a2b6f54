public import BrokerProtocol

extension Connection {
  /// Hears what happens to pools, and to this user's leases; to everyone's for admins.
  ///
  /// Blocks, and keeps all other calls on this connection waiting: use a connection of its own. The
  /// first event, `started`, comes at once. Returns when `handle` returns false; the connection can do
  /// nothing else then.
  /// - Throws: also when the broker hangs up, as it does on a monitor that reads too slowly; what
  ///   happened meanwhile has to be looked up.
  public func monitor(_ handle: (Broker1.Event) -> Bool) throws(ClientError) {
    try stream(Broker1.Monitor.self, .init()) { handle($0.event) }
  }

  /// Takes a lease back from its holder, as it is then. For admins. The memory stays out of use until
  /// the holder has released the lease or died.
  public func forceRelease(_ lease: LeaseID) throws(ClientError) -> Broker1.Lease {
    try call(Broker1.ForceRelease.self, .init(lease: lease)).lease
  }
}
