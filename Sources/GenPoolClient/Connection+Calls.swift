public import BrokerProtocol

/// The broker's methods but for Acquire, which makes a ``Lease``.
///
/// All throw what ``Connection`` says, and the broker's errors as `ClientError.broker`.
extension Connection {
  /// Returns the broker's release, and the session and user that this connection is to it. `name`
  /// names the session in its log, and is, if it can be one, the label of leases that are acquired
  /// without one from then on.
  public func hello(as name: String? = nil) throws(ClientError) -> Broker1.Hello.Reply {
    try call(Broker1.Hello.self, .init(client: name))
  }

  /// The machine's PCI devices that have memory, attached or not.
  public func devices() throws(ClientError) -> [Broker1.Device] {
    try collect(Broker1.ListDevices.self, .init()).flatMap(\.devices)
  }

  /// The pools, in the order in which they were attached.
  public func pools() throws(ClientError) -> [Broker1.Pool] {
    try collect(Broker1.ListPools.self, .init()).flatMap(\.pools)
  }

  /// One pool with its chunks and free memory.
  public func describe(pool: String) throws(ClientError) -> Broker1.DescribePool.Reply {
    try call(Broker1.DescribePool.self, .init(pool: pool))
  }

  /// This user's leases of `pool`, or of all pools, by pool and offset; all users' for admins. One
  /// that is there from the beginning of the call to its end is listed once.
  public func leases(of pool: String? = nil) throws(ClientError) -> [Broker1.Lease] {
    try collect(Broker1.ListLeases.self, .init(pool: pool)).flatMap(\.leases)
      .sorted { ($0.pool, $0.offset) < ($1.pool, $1.offset) }
  }

  /// Makes a pool of a BAR or a part of it, which is erased. For admins: connections to
  /// `BrokerSocket.admin`.
  public func attach(_ piece: Broker1.Attach.Parameters) throws(ClientError) -> Broker1.Pool {
    try call(Broker1.Attach.self, piece).pool
  }

  /// Keeps a pool from leasing more; what is leased stays. For admins: connections to
  /// `BrokerSocket.admin`. The pool's state is `drained` once nothing reaches its memory any more,
  /// which ``monitor(_:)`` reports as `regionDrained`, and ``detach(pool:)`` will do then.
  @discardableResult
  public func drain(pool: String) throws(ClientError) -> Broker1.Pool {
    try call(Broker1.DrainPool.self, .init(pool: pool)).pool
  }

  /// Undoes ``drain(pool:)``: the pool leases again. For admins.
  @discardableResult
  public func resume(pool: String) throws(ClientError) -> Broker1.Pool {
    try call(Broker1.DrainPool.self, .init(pool: pool, undo: true)).pool
  }

  /// Gives a pool's BAR back. For admins: connections to `BrokerSocket.admin`. The reply contains
  /// what the kernel cannot tell about the memory.
  @discardableResult
  public func detach(pool: String) throws(ClientError) -> Broker1.Detach.Reply {
    try call(Broker1.Detach.self, .init(pool: pool))
  }
}
