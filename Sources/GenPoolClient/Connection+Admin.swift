public import BrokerProtocol

extension Connection {
  /// Connects as an admin where this process may, else as a client: for programs that only look,
  /// and show the leases and events of all users to admins.
  ///
  /// - Parameters:
  ///   - socket: the broker's clients' socket.
  ///   - timeout: the longest time for a call.
  /// - Throws: as ``init(to:timeout:)``, of the clients' socket.
  public static func preferringAdmin(
    of socket: BrokerSocket = .standard, timeout: Duration = .seconds(30)
  ) throws(ClientError) -> Connection {
    // In the abstract namespace every process can connect, and the first answer is the refusal.
    if let connection = try? Connection(to: socket.admin, timeout: timeout),
      (try? connection.hello().admin) == true
    {
      return connection
    }
    return try Connection(to: socket, timeout: timeout)
  }
}
