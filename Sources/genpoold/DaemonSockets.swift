import Broker
import BrokerProtocol
import LinuxSystem
import Logging
import SystemPackage

/// The sockets of the daemon: the clients', and the admins' beside it.
///
/// They listen before a device is touched, so that a second daemon finds out that it is one, and
/// clients wait instead of failing. A daemon that ends before it serves removes those that it made,
/// and the connections that wait are closed.
struct DaemonSockets: ~Copyable {
  private var clients: ListeningSocket
  /// Nil where a service manager passed the clients' socket only, and none can be made beside it.
  private var admins: ListeningSocket?

  private init(clients: consuming ListeningSocket, admins: consuming ListeningSocket?) {
    self.clients = clients
    self.admins = admins
  }

  /// Takes the sockets that the service manager passed, else makes them.
  ///
  /// A service manager that passes the clients' socket only is an older one's configuration, or a
  /// deliberate one. The daemon serves in both cases, for its pools come from its configuration;
  /// an admins' socket that it cannot make costs only the calls of admins.
  /// - Parameters:
  ///   - place: the clients' socket, where it is made.
  ///   - group: the group that may connect as clients.
  ///   - adminGroup: the group that may connect as admins.
  static func open(
    _ environment: [String: String], at place: BrokerSocket, group: UInt32?, adminGroup: UInt32?,
    logger: Logger
  ) throws(SystemError) -> DaemonSockets {
    guard let activation = try SocketActivation(environment) else {
      let clients = try make(place, for: .clients, group: group, logger)
      let admins = try make(place.admin, for: .admins, group: adminGroup, logger)
      return DaemonSockets(clients: clients, admins: admins)
    }
    var sockets = try passed(activation)
    if sockets.admins == nil {
      sockets.admins = try makeBeside(sockets.clients, group: adminGroup, logger)
    }
    return sockets
  }

  /// Those that a service manager passed, and no others.
  static func passed(_ passed: consuming SocketActivation) throws(SystemError) -> DaemonSockets {
    let passedAdmins = passed.admins.take()
    let clients = try ListeningSocket(inherited: passed.clients, for: .clients)
    guard let passedAdmins else { return DaemonSockets(clients: clients, admins: nil) }
    let admins = try ListeningSocket(inherited: passedAdmins, for: .admins)
    return DaemonSockets(clients: clients, admins: admins)
  }

  /// Answers each connection that waits with `failure` and closes it, until none waits any more or
  /// `deadline` is past.
  borrowing func rejectConnections(
    because failure: BrokerError, until deadline: ContinuousClock.Instant
  ) {
    clients.rejectConnections(because: failure, until: deadline)
    admins?.rejectConnections(because: failure, until: deadline)
  }

  /// Serves both sockets from now on.
  consuming func serve(by broker: LeaseBroker) throws(SystemError) {
    let admins = admins.take()
    try broker.listen(on: clients)
    if let admins { try broker.listen(on: admins) }
  }

  private static func make(
    _ place: BrokerSocket, for audience: ListeningSocket.Audience, group: UInt32?, _ logger: Logger
  ) throws(SystemError) -> ListeningSocket {
    guard audience == .admins || !place.isAdmin else {
      throw SystemError(
        operation: "listen on", subject: place.path, errno: .invalidArgument,
        cause: "that is the path of an admins' socket; name the clients', and the admins' is made "
          + "beside it")
    }
    let socket = try ListeningSocket(path: place.path, for: audience, group: group)
    logger.info("listen", metadata: ["socket": "\(place)"])
    return socket
  }

  /// The admins' socket where clients will look for it. Nil, with a line of the log, when it cannot
  /// be made: a sandbox may not let the daemon.
  private static func makeBeside(
    _ clients: borrowing ListeningSocket, group: UInt32?, _ logger: Logger
  ) throws(SystemError) -> ListeningSocket? {
    let then = "no client can attach, detach or take leases of others"
    guard let path = clients.path else {
      logger.warning(
        "no admin socket", metadata: ["cause": "the clients' has no path", "then": "\(then)"])
      return nil
    }
    do throws(SystemError) {
      return try make(BrokerSocket(path: path).admin, for: .admins, group: group, logger)
    } catch {
      // Admins' calls would go to another broker than clients'.
      guard error.errno != .addressInUse else { throw error }
      logger.warning("no admin socket", metadata: ["cause": "\(error)", "then": "\(then)"])
      return nil
    }
  }
}
