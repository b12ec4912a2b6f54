import ArgumentParser
import BrokerProtocol
import GenPoolClient
import Glibc
import LinuxSystem
import SystemPackage

/// What a command could not do: the text for standard error, and the exit status.
struct Failure: Error {
  /// Operation, subject, cause and cure.
  let message: String
  /// What the shell sees.
  let status: CInt

  /// sysexits.h EX_UNAVAILABLE: no daemon.
  static let unavailable: CInt = 69
  /// sysexits.h EX_TEMPFAIL: full or busy; the same call may work later.
  static let temporary: CInt = 75

  init(_ message: String, status: CInt = EXIT_FAILURE) {
    self.message = message
    self.status = status
  }

  /// The failure that `error` is, nil for ArgumentParser's own errors.
  init?(_ error: any Error) {
    switch error {
    case let error as Failure: self = error
    case let error as ClientError: self.init(error)
    case let error as any ErrnoError: self.init(error.description)
    default: return nil
    }
  }

  private init(_ error: ClientError) {
    let status =
      error.isUnreachable ? Self.unavailable : error.isTemporary ? Self.temporary : EXIT_FAILURE
    self.init(error.description, status: status)
  }

  /// Writes the message to standard error. Nobody may be listening.
  func report() {
    // A reader of standard output that has had enough is no failure to talk about.
    guard !message.isEmpty else { return }
    StandardError.write("genpoolctl: \(message)\n")
  }
}

extension ClientError {
  /// Whether the broker, not the system here, said so of something that comes free.
  fileprivate var isTemporary: Bool {
    switch self {
    // Who may have nothing has nothing to give back.
    case .broker(.quotaExceeded(_, let limit, _, _)) where limit == 0: false
    case .broker(let error): [ENOMEM, ENOSPC, EBUSY, EDQUOT].contains(error.errno.rawValue)
    default: false
    }
  }
}
