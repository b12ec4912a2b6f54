package import BrokerProtocol
import GenPool

/// A client's Acquire, and the client.
package struct LeaseRequest {
  package let parameters: Broker1.Acquire.Parameters
  package let session: SessionID
  package let process: ProcessID
  package let user: UID
  /// The user on whose account it is.
  package let account: UID
  package let pid: PID
  /// Whether its connection is an admin's.
  package let isAdmin: Bool
  /// The label of the lease.
  package let label: String?
  /// Returns the groups of its process, which may be 65,536: nothing keeps them.
  package let groups: () -> [UInt32]

  package init(
    _ parameters: Broker1.Acquire.Parameters, session: SessionID, process: ProcessID, user: UID,
    account: UID, pid: PID, isAdmin: Bool = false,
    sessionLabel: String? = nil, groups: @escaping () -> [UInt32] = { [] }
  ) {
    self.parameters = parameters
    self.session = session
    self.process = process
    self.user = user
    self.account = account
    self.pid = pid
    self.isAdmin = isAdmin
    label = parameters.label ?? sessionLabel
    self.groups = groups
  }
}

extension Broker1.Acquire.Parameters {
  /// The longest request key, in bytes.
  private static let keyLimit = 256

  /// Whether both ask for the same, however long they wait.
  package func isSame(as other: Self) -> Bool {
    var (left, right) = (self, other)
    left.wait = nil
    right.wait = nil
    return left == right
  }

  /// Refuses what makes no sense for any pool.
  package func check() throws(BrokerError) {
    guard bytes > .zero else { throw .invalid("bytes") }
    guard alignment?.isPowerOfTwo ?? true else { throw .invalid("alignment") }
    let fit = fit ?? .first
    guard [.first, .best, .orderAligned, .fixed].contains(fit) else { throw .invalid("fit") }
    guard alignment == nil || fit == .first else { throw .invalid("alignment") }
    guard (offset != nil) == (fit == .fixed) else { throw .invalid("offset") }
    guard label.map(Broker1.Lease.isLabel) ?? true else { throw .invalid("label") }
    guard wait?.rawValue ?? 0 >= 0 else { throw .invalid("wait") }
    guard (1...Self.keyLimit).contains(requestKey?.utf8.count ?? 1) else {
      throw .invalid("requestKey")
    }
  }
}
