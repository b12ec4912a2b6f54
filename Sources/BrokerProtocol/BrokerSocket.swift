/// Where the broker listens.
///
/// One rule for everybody: `GENPOOL_SOCKET`; else `/run/genpool/io.genpool.Broker1` for root, and
/// `$XDG_RUNTIME_DIR/genpool/io.genpool.Broker1` for others, whose own broker it is.
public struct BrokerSocket: Hashable, Sendable, CustomStringConvertible {
  /// The path of the Unix socket. A leading `@` is the abstract namespace.
  public let path: String

  /// The socket at `path`.
  public init(path: String) {
    self.path = path
  }

  /// The socket that the rule gives for the user `uid` with the variables `environment`.
  ///
  /// An ordinary user without XDG_RUNTIME_DIR gets root's broker: there is no other.
  public init(environment: [String: String], uid: UInt32) {
    if let path = environment["GENPOOL_SOCKET"], !path.isEmpty {
      self.path = path
    } else if uid != 0, let directory = environment["XDG_RUNTIME_DIR"], !directory.isEmpty {
      path = directory + "/genpool/io.genpool.Broker1"
    } else {
      path = "/run/genpool/io.genpool.Broker1"
    }
  }

  public var description: String { path }
}
