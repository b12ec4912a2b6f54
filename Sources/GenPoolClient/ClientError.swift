public import BrokerProtocol
import Glibc
public import LinuxSystem
public import SystemPackage

/// How a call to the broker ends when it does not end well.
public enum ClientError: ErrnoError {
  /// The broker said no, and why.
  case broker(BrokerError)
  /// An error that this client does not know: the broker is newer.
  case unknown(name: String)
  /// The system said no: no socket, no connection, no mapping.
  case system(SystemError)
  /// The broker's answer breaks its own interface. The connection is closed.
  case violation(ProtocolViolation)

  /// The errno that a C function would return for it.
  public var errno: Errno {
    switch self {
    case .broker(let error): error.errno
    case .unknown: .notSupported
    case .system(let error): error.errno
    case .violation: Errno(rawValue: EPROTO)
    }
  }

  /// Whether there is no broker at the other end: none has been started, or it has gone.
  public var isUnreachable: Bool {
    guard case .system(let error) = self else { return false }
    switch error.operation {
    case Connection.connecting:
      return [.noSuchFileOrDirectory, .connectionRefused].contains(error.errno)
    case Connection.calling: return [.connectionReset, .brokenPipe].contains(error.errno)
    default: return false
    }
  }
}

extension ClientError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .broker(let error): error.description
    case .unknown(let name):
      "the broker answered \(name), which this client does not know: it is newer"
    case .system(let error): error.description
    case .violation(let error): error.description
    }
  }
}

/// An answer that breaks the interface: not JSON, a lease without its descriptor, a size that the
/// descriptor does not have. Nothing of it is used.
public struct ProtocolViolation: Error, Hashable, Sendable, CustomStringConvertible {
  /// The full name of the method that was called.
  public let method: String
  /// What is wrong with the answer.
  public let cause: String

  /// `answer to io.genpool.Broker1.Acquire: no descriptor came with it (…)`.
  public var description: String {
    "answer to \(method): \(cause) (whoever listens there is no genpoold, or a broken one)"
  }
}
