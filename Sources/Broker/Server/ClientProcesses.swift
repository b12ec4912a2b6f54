import BrokerLeases
import BrokerProtocol
import Glibc
import LinuxSystem
import SystemPackage

/// The processes that have a connection or may reach memory, each once.
///
/// Invariants: each is watched until it dies or is forgotten; two that live have no identity in
/// common.
final class ClientProcesses {
  private let loop: EventLoop
  private let onDeath: (ClientProcess) -> Void
  private var known: [ProcessID: (process: ClientProcess, watch: EventLoop.Watch)] = [:]
  private var identities: [ProcessIdentity: ProcessID] = [:]
  /// The number of those of each account.
  private var counts: [UID: Int] = [:]
  /// The most processes of an account but root's: each costs a descriptor for as long as it may
  /// reach memory, connected or not.
  var limit = 0
  private var lastNumber = 0

  /// Calls `onDeath` with a process that has died, and is forgotten by then.
  init(on loop: EventLoop, onDeath: @escaping (ClientProcess) -> Void) {
    self.loop = loop
    self.onDeath = onDeath
  }

  /// Those that have died, which was not noticed yet. O(processes).
  var dead: [ProcessID] { known.values.filter { $0.process.hasDied }.map(\.process.id) }

  subscript(id: ProcessID) -> ClientProcess? { known[id]?.process }

  /// The one object for a peer's process, however often it connects. A dead one that had the same
  /// identity, as far as the kernel shows it, is reaped first. O(1).
  /// - Throws: EDQUOT when its account has ``limit`` others.
  func register(
    _ peer: consuming Peer, of account: UID
  ) throws(SystemError) -> ClientProcess {
    if let process = peer.identity.flatMap({ identities[$0] }).flatMap({ self[$0] }) {
      if !process.hasDied { return process }
      reap(process)
    }
    guard account == .root || counts[account, default: 0] < limit else {
      throw SystemError(
        operation: "watch", subject: "process \(peer.pid)", errno: Errno(rawValue: EDQUOT),
        cause: "uid \(account) has \(limit) processes that reach memory or are connected")
    }
    lastNumber += 1
    let process = ClientProcess(
      id: ProcessID(rawValue: lastNumber), peer: peer, account: account)
    let watch = try loop.add(process.deathDescriptor, .readable) { [unowned self] _ in
      reap(process)
    }
    known[process.id] = (process, watch)
    counts[account, default: 0] += 1
    if let identity = process.identity { identities[identity] = process.id }
    return process
  }

  private func reap(_ process: ClientProcess) {
    forget(process)
    onDeath(process)
  }

  /// Ends the watch of a process.
  func forget(_ process: ClientProcess) {
    guard let (_, watch) = known.removeValue(forKey: process.id) else { return }
    if let identity = process.identity, identities[identity] == process.id {
      identities[identity] = nil
    }
    loop.remove(watch)
    let others = counts[process.account, default: 0] - 1
    counts[process.account] = others > 0 ? others : nil
  }
}
