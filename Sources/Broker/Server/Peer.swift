import BrokerProtocol
import LinuxSystem
import SystemPackage

/// The process at the other end of a connection: the one that called connect(), as it was then.
struct Peer: ~Copyable {
  /// 0 when it lives in a pid namespace that this process cannot see.
  let pid: PID
  let user: UID
  /// Nil where the kernel shows none: its connections are those of different processes then.
  let identity: ProcessIdentity?
  /// Its effective group and the supplementary ones.
  let groups: [UInt32]
  private let process: ProcessDescriptor

  /// Asks the kernel. Throws when the peer is gone already, or cannot be watched.
  init(of socket: borrowing StreamSocket) throws(SystemError) {
    let credentials: PeerCredentials
    do throws(Errno) {
      credentials = try PeerCredentials(of: socket)
    } catch {
      throw SystemError(
        operation: "identify", subject: "the peer of a connection", errno: error)
    }
    guard !credentials.isOverflowUser else {
      throw SystemError(
        operation: "identify", subject: "the user of process \(credentials.pid)",
        errno: .permissionDenied,
        cause: "it has no number in genpoold's user namespace, and cannot be told from others: run "
          + "genpoold where every user is mapped")
    }
    do throws(Errno) {
      process = try ProcessDescriptor(peerOf: socket, pid: credentials.pid)
    } catch {
      throw SystemError(
        operation: "watch", subject: "process \(credentials.pid)", errno: error)
    }
    pid = PID(rawValue: credentials.pid)
    identity = process.identity(pid: credentials.pid)
    user = UID(rawValue: credentials.user)
    groups = [credentials.group] + PeerCredentials.supplementaryGroups(of: socket)
  }

  /// Its user alone; nil when the kernel does not tell.
  static func user(of socket: borrowing StreamSocket) -> UID? {
    (try? PeerCredentials(of: socket)).map { UID(rawValue: $0.user) }
  }

  /// The process alone. The rest are plain values, to be read before.
  consuming func takeProcess() -> ProcessDescriptor { process }
}
