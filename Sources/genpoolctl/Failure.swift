import ArgumentParser
import BrokerProtocol
import GenPoolClient
import Glibc
import LinuxSystem
import PCIDevices
import SystemPackage

/// What a command could not do: the text for standard error, and the exit status.
struct Failure: Error {
  /// Operation, subject, cause and cure.
  let message: String
  /// The exit status.
  let status: CInt
  /// A stable name, for programs: the daemon's own names, such as `io.genpool.Broker1.PoolFull`,
  /// and short ones for what fails here, such as `no-such-device`.
  let name: String
  /// The errno that a C function would return; nil where none says it.
  let errno: CInt?
  /// The attach rules that refused, where that is the failure.
  let refusals: [Broker1.Refusal]

  /// sysexits.h EX_USAGE: wrong usage.
  static let usage: CInt = 64
  /// sysexits.h EX_UNAVAILABLE: no daemon.
  static let unavailable: CInt = 69
  /// sysexits.h EX_TEMPFAIL: full or busy; the same call may work later.
  static let temporary: CInt = 75

  init(
    _ message: String, status: CInt = EXIT_FAILURE, name: String = "failed", errno: CInt? = nil,
    refusals: [Broker1.Refusal] = []
  ) {
    self.message = message
    self.status = status
    self.name = name
    self.errno = errno
    self.refusals = refusals
  }

  /// The failure that `error` is, nil for ArgumentParser's own errors.
  init?(_ error: any Error) {
    switch error {
    case let error as Failure: self = error
    case let error as ClientError: self.init(error)
    case let error as DeviceError:
      self.init(
        error.description, name: error.name, errno: error.errno.rawValue, refusals: error.refusals)
    case let error as any ErrnoError:
      self.init(error.description, name: "system", errno: error.errno.rawValue)
    default: return nil
    }
  }

  private init(_ error: ClientError) {
    let status =
      error.isUnreachable ? Self.unavailable : error.isTemporary ? Self.temporary : EXIT_FAILURE
    self.init(
      error.description, status: status, name: error.name, errno: error.errno.rawValue,
      refusals: error.refusals)
  }

  /// Writes the message to standard error, which may be closed.
  /// - Parameter isJSON: whether it is written as one line of JSON, for programs.
  func report(isJSON: Bool) {
    // A reader of standard output that has had enough is no failure to talk about.
    guard !message.isEmpty else { return }
    if isJSON, let line = try? JSONDocument(Document(error: self)).line {
      StandardError.write(line)
    } else {
      StandardError.write("genpoolctl: \(message)\n")
    }
  }

  /// A failure as `--json` prints it.
  private struct Document: Encodable {
    let error: Failure
  }

  /// Whether `arguments` ask for JSON: before a `--`, behind which are another program's.
  static func isJSON(_ arguments: [String]) -> Bool {
    arguments.prefix { $0 != "--" }.contains("--json")
  }
}

extension Failure: Encodable {
  private enum CodingKeys: CodingKey { case errno, message, name, refusals, status }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encodeIfPresent(errno.map { Int($0) }, forKey: .errno)
    try container.encode(message, forKey: .message)
    try container.encode(name, forKey: .name)
    if !refusals.isEmpty { try container.encode(refusals, forKey: .refusals) }
    try container.encode(Int(status), forKey: .status)
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

  /// The stable name of it.
  fileprivate var name: String {
    switch self {
    case .broker(let error): error.name
    case .unknown(let name): name
    case .system: isUnreachable ? "no-daemon" : "system"
    case .violation: "protocol-violation"
    }
  }

  fileprivate var refusals: [Broker1.Refusal] {
    if case .broker(.deviceRefused(_, let rules)) = self { rules } else { [] }
  }
}

extension DeviceError {
  /// The stable name of it.
  fileprivate var name: String {
    switch self {
    case .noSuchDevice: "no-such-device"
    case .malformed: "malformed"
    case .refused: "refused"
    case .invalid: "invalid"
    case .overlapping: "overlapping"
    case .notNVMe: "not-nvme"
    case .noAnswer: "no-answer"
    case .absent: "absent"
    case .timeout: "timeout"
    case .contradiction: "contradiction"
    case .system: "system"
    }
  }

  fileprivate var refusals: [Broker1.Refusal] {
    guard case .refused(_, let refusals) = self else { return [] }
    return refusals.map {
      Broker1.Refusal(rule: $0.rule, subject: $0.subject, cause: $0.cause, cure: $0.cure)
    }
  }
}
