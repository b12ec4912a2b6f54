import BrokerLeases
import BrokerProtocol
import LinuxSystem

/// A process that connected: the owner of leases, whatever becomes of its connections.
///
/// Its end is told by its pidfd, so that of a process that got its number is not taken for it. One
/// a process, however often it connects.
final class ClientProcess {
  typealias ID = ProcessID

  let id: ID
  let pid: PID
  let identity: ProcessIdentity?
  /// The user on whose account it is known.
  let account: UID
  private let pidfd: ProcessDescriptor
  /// Its open connections.
  private(set) var sessions: Set<Session.ID> = []

  init(id: ID, peer: consuming Peer, account: UID) {
    self.id = id
    self.account = account
    pid = peer.pid
    identity = peer.identity
    pidfd = peer.takeProcess()
  }

  /// The descriptor that becomes readable when it dies.
  var deathDescriptor: CInt { pidfd.rawValue }

  /// Whether it has died, noticed yet or not. If unsure, it lives: nothing may be freed then.
  var hasDied: Bool { pidfd.hasDied }

  /// A connection of it begins.
  func add(_ session: Session.ID) { sessions.insert(session) }

  /// A connection of it has ended.
  func remove(_ session: Session.ID) { sessions.remove(session) }
}
