public import BrokerProtocol
import LinuxSystem
import SystemPackage

/// How a call to the broker fails: with one of varlink's errors, or one of its own.
public enum CallFailure: Error, Equatable, CustomStringConvertible {
  case service(ServiceError)
  case broker(BrokerError)

  /// A parameter that is missing, wrong or unknown.
  static func invalid(_ parameter: String) -> Self {
    .service(.invalidParameter(parameter: parameter))
  }

  /// What the system refused, as the interface says it.
  static func system(_ error: SystemError) -> Self {
    .broker(
      .deviceError(
        operation: error.operation, subject: error.subject, errno: error.errno.rawValue,
        cause: error.cause))
  }

  /// The error's full name.
  var name: String {
    switch self {
    case .service(let error): error.name
    case .broker(let error): error.name
    }
  }

  public var description: String {
    switch self {
    case .service(let error): error.description
    case .broker(let error): error.description
    }
  }
}
