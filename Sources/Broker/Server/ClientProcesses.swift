import BrokerLeases
import BrokerProtocol
import LinuxSystem

/// The processes that have a connection or may reach memory, each once.
///
/// Invariant: each is watched until it dies or is forgotten.
final class ClientProcesses {
  private let loop: EventLoop
  private let onDeath: (ClientProcess) -> Void
  private var known: [ProcessID: (process: ClientProcess, watch: EventLoop.Watch)] = [:]
  private var lastNumber = 0

  /// Calls `onDeath` with a process that has died, and is forgotten by then.
  init(on loop: EventLoop, onDeath: @escaping (ClientProcess) -> Void) {
    self.loop = loop
    self.onDeath = onDeath
  }

  subscript(id: ProcessID) -> ClientProcess? { known[id]?.process }

  /// The one object for a peer's process, however often it connects. Two living processes cannot
  /// have the same number; a dead one whose number was reused is reaped first. O(processes).
  func register(_ peer: consuming Peer) throws(SystemError) -> ClientProcess {
    if peer.pid.rawValue > 0,
      let process = known.values.first(where: { $0.process.pid == peer.pid })?.process
    {
      if !process.hasDied { return process }
      reap(process)
    }
    lastNumber += 1
    let process = ClientProcess(id: ProcessID(rawValue: lastNumber), peer: peer)
    let watch = try loop.add(process.deathDescriptor, .readable) { [unowned self] _ in
      reap(process)
    }
    known[process.id] = (process, watch)
    return process
  }

  private func reap(_ process: ClientProcess) {
    forget(process)
    onDeath(process)
  }

  /// Ends the watch of a process.
  func forget(_ process: ClientProcess) {
    guard let (_, watch) = known.removeValue(forKey: process.id) else { return }
    loop.remove(watch)
  }
}
