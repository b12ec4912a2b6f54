package import BrokerProtocol

/// The answer to: may this user have this memory now? One form of it, from a pool's own to that of
/// all.
package enum LeaseDecision<Granted> {
  case granted(Granted)
  case mustWait(Wait)
  case denied(BrokerError)
}

extension LeaseDecision {
  /// The error to answer with; nil when it is granted.
  package var failure: BrokerError? {
    switch self {
    case .granted: nil
    case .mustWait(let wait): wait.failure
    case .denied(let failure): failure
    }
  }
}

extension BrokerError {
  /// The order in which one of several pools' reasons is told: the lowest is the one that a client
  /// can do most about.
  var rank: Int {
    switch self {
    case .quotaExceeded, .poolFragmented: 0
    case .poolFull: 1
    case .poolBusy: 2
    case .poolRevoked: 4
    case .poolDenied: 5
    default: 3
    }
  }
}
