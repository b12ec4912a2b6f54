/// An error as varlink sends it: a full name, and parameters by `encode(to:)`.
public protocol VarlinkError: Error, Encodable {
  /// The full name, e.g. `io.genpool.Broker1.PoolFull`.
  var name: String { get }
}

/// The errors that any varlink service may answer with: `org.varlink.service`.
public enum ServiceError: VarlinkError, Equatable, CustomStringConvertible {
  /// No such interface here.
  case interfaceNotFound(interface: String)
  /// The interface has no such method.
  case methodNotFound(method: String)
  /// The interface has the method, the service does not do it, or not in the way asked for.
  case methodNotImplemented(method: String)
  /// A parameter is missing, of the wrong type, out of range or unknown.
  case invalidParameter(parameter: String)
  /// The caller may not.
  case permissionDenied
  /// The method can only be called with `more`.
  case expectedMore

  public var name: String {
    switch self {
    case .interfaceNotFound: "org.varlink.service.InterfaceNotFound"
    case .methodNotFound: "org.varlink.service.MethodNotFound"
    case .methodNotImplemented: "org.varlink.service.MethodNotImplemented"
    case .invalidParameter: "org.varlink.service.InvalidParameter"
    case .permissionDenied: "org.varlink.service.PermissionDenied"
    case .expectedMore: "org.varlink.service.ExpectedMore"
    }
  }

  public func encode(to encoder: any Encoder) throws {
    var fields = encoder.container(keyedBy: FieldName.self)
    switch self {
    case .interfaceNotFound(let interface):
      try fields.encode(interface, forKey: FieldName("interface"))
    case .methodNotFound(let method), .methodNotImplemented(let method):
      try fields.encode(method, forKey: FieldName("method"))
    case .invalidParameter(let parameter):
      try fields.encode(parameter, forKey: FieldName("parameter"))
    case .permissionDenied, .expectedMore:
      break
    }
  }

  /// Reads the error `name` from its reply; nil when it is none of these.
  init?(name: String, frame: [UInt8]) throws(CodingFailure) {
    switch name {
    case "org.varlink.service.InterfaceNotFound":
      let fields = try decodeParameters([String: String].self, from: frame)
      self = .interfaceNotFound(interface: fields["interface"] ?? "")
    case "org.varlink.service.MethodNotFound":
      let fields = try decodeParameters([String: String].self, from: frame)
      self = .methodNotFound(method: fields["method"] ?? "")
    case "org.varlink.service.MethodNotImplemented":
      let fields = try decodeParameters([String: String].self, from: frame)
      self = .methodNotImplemented(method: fields["method"] ?? "")
    case "org.varlink.service.InvalidParameter":
      let fields = try decodeParameters([String: String].self, from: frame)
      self = .invalidParameter(parameter: fields["parameter"] ?? "")
    case "org.varlink.service.PermissionDenied": self = .permissionDenied
    case "org.varlink.service.ExpectedMore": self = .expectedMore
    default: return nil
    }
  }

  public var description: String {
    switch self {
    case .interfaceNotFound(let interface): "genpoold has no interface \(interface)"
    case .methodNotFound(let method): "genpoold has no method \(method)"
    case .methodNotImplemented(let method): "genpoold does not implement \(method) in this way"
    case .invalidParameter(let parameter):
      "parameter \(parameter) is missing, wrong or unknown"
        + (Self.rules[parameter].map { ": it has to be \($0)" } ?? "")
    case .permissionDenied:
      "permission denied: genpoold lets only root, its own user and the group genpool-admin (or whom its "
        + "configuration names) attach, detach and take leases of others"
    case .expectedMore: "the method answers more than once and has to be called so"
    }
  }

  /// What parameters have to be that a caller cannot be expected to know.
  private static let rules = [
    "alignment": "a power of two, and goes with the first fit only",
    "granule": "a power of two, at least a page",
    "name": "1 to 64 printable ASCII characters without blanks",
    "offset": "a multiple of the pool's granule, with room for the size behind it",
    "source": "sysfs or vfio",
    "wait": "a year at most",
  ]
}
