/// The path at which the broker listens: the clients' socket, or the admins' beside it.
///
/// One rule for all programs: `GENPOOL_SOCKET`; else `/run/genpool/io.genpool.Broker1` for root,
/// and `$XDG_RUNTIME_DIR/genpool/io.genpool.Broker1` for others, whose own broker it is. That is
/// the clients' socket. The ``admin`` socket has the same path and `.admin`.
public struct BrokerSocket: Hashable, Sendable, CustomStringConvertible {
  /// The suffix that makes a clients' path the admins'.
  static let adminSuffix = ".admin"

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

  /// The same broker's socket for admins: root, the broker's own user, and the group genpool-admin.
  ///
  /// A connection to it may attach, detach and take leases of others, and sees the leases and
  /// events of all users. No connection to the clients' socket may, root's included: a container
  /// that has that socket only has no rights over the machine's devices. An admins' socket is its
  /// own ``admin``.
  public var admin: Self { isAdmin ? self : Self(path: path + Self.adminSuffix) }

  /// Whether it is an admins' socket, by its path.
  public var isAdmin: Bool { path.hasSuffix(Self.adminSuffix) }

  public var description: String { path }
}
