/// How a call to the broker fails: with one of varlink's errors, or one of its own.
public enum CallFailure: Error, Equatable, CustomStringConvertible {
  case service(ServiceError)
  case broker(BrokerError)

  /// A parameter that is missing, wrong or unknown.
  package static func invalid(_ parameter: String) -> Self {
    .service(.invalidParameter(parameter: parameter))
  }

  /// The error's full name.
  package var name: String {
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
