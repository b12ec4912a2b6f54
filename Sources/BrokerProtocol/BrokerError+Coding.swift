import GenPool

extension BrokerError {
  /// The varlink interface of errors that any service may answer with.
  private static let service = "org.varlink.service"

  /// The full name, e.g. `io.genpool.Broker1.PoolFull`.
  public var name: String {
    let error =
      switch self {
      case .interfaceNotFound: "InterfaceNotFound"
      case .methodNotFound: "MethodNotFound"
      case .methodNotImplemented: "MethodNotImplemented"
      case .invalidParameter: "InvalidParameter"
      case .permissionDenied: "PermissionDenied"
      case .expectedMore: "ExpectedMore"
      case .noSuchPool: "NoSuchPool"
      case .noPool: "NoPool"
      case .noSuchLease: "NoSuchLease"
      case .staleGeneration: "StaleGeneration"
      case .poolTooSmall: "PoolTooSmall"
      case .poolFull: "PoolFull"
      case .poolFragmented: "PoolFragmented"
      case .poolBusy: "PoolBusy"
      case .poolDraining: "PoolDraining"
      case .poolDenied: "PoolDenied"
      case .poolRevoked: "PoolRevoked"
      case .poolExists: "PoolExists"
      case .leaseTableFull: "LeaseTableFull"
      case .quotaExceeded: "QuotaExceeded"
      case .noSuchDevice: "NoSuchDevice"
      case .deviceRefused: "DeviceRefused"
      case .deviceError: "DeviceError"
      }
    return (isOfService ? Self.service : Broker1.interface) + "." + error
  }

  /// Whether any varlink service may answer so.
  private var isOfService: Bool {
    switch self {
    case .interfaceNotFound, .methodNotFound, .methodNotImplemented, .invalidParameter,
      .permissionDenied, .expectedMore:
      true
    default: false
    }
  }

  /// Reads the error `name` from its reply; nil when it is none of these.
  init?(name: String, _ envelope: ReceivedEnvelope) throws(CodingFailure) {
    guard let dot = name.lastIndex(of: "."),
      [Self.service, Broker1.interface].contains(String(name[..<dot]))
    else { return nil }
    let fields = try envelope.decodeParameters(Fields.self)
    func require<Value>(_ value: Value?, _ field: Fields.CodingKeys) throws(CodingFailure) -> Value
    {
      guard let value else { throw CodingFailure(codingPath: [field]) }
      return value
    }
    let isOfService = name.hasPrefix(Self.service + ".")
    switch (isOfService, name[name.index(after: dot)...]) {
    case (true, "InterfaceNotFound"):
      self = .interfaceNotFound(interface: fields.interface ?? "")
    case (true, "MethodNotFound"): self = .methodNotFound(method: fields.method ?? "")
    case (true, "MethodNotImplemented"): self = .methodNotImplemented(method: fields.method ?? "")
    case (true, "InvalidParameter"): self = .invalidParameter(parameter: fields.parameter ?? "")
    case (true, "PermissionDenied"): self = .permissionDenied
    case (true, "ExpectedMore"): self = .expectedMore
    case (false, "NoSuchPool"): self = .noSuchPool(pool: try require(fields.pool, .pool))
    case (false, "NoPool"): self = .noPool
    case (false, "NoSuchLease"): self = .noSuchLease(lease: try require(fields.lease, .lease))
    case (false, "StaleGeneration"):
      self = .staleGeneration(
        lease: try require(fields.lease, .lease),
        generation: try require(fields.generation, .generation))
    case (false, "PoolTooSmall"):
      self = .poolTooSmall(
        pool: try require(fields.pool, .pool), bytes: try require(fields.bytes, .bytes),
        size: try require(fields.size, .size))
    case (false, "PoolFull"):
      self = .poolFull(
        pool: try require(fields.pool, .pool), bytes: try require(fields.bytes, .bytes),
        available: try require(fields.available, .available), erasing: fields.erasing)
    case (false, "PoolFragmented"):
      self = .poolFragmented(
        pool: try require(fields.pool, .pool), bytes: try require(fields.bytes, .bytes),
        available: try require(fields.available, .available),
        largestFree: try require(fields.largestFree, .largestFree), alignment: fields.alignment,
        offset: fields.offset)
    case (false, "PoolBusy"):
      self = .poolBusy(
        pool: try require(fields.pool, .pool), reason: try require(fields.reason, .reason),
        uid: fields.uid, leases: try require(fields.leases, .leases),
        holders: try require(fields.holders, .holders))
    case (false, "PoolDraining"): self = .poolDraining(pool: try require(fields.pool, .pool))
    case (false, "PoolDenied"):
      self = .poolDenied(
        pool: try require(fields.pool, .pool), users: try require(fields.users, .users),
        groups: try require(fields.groups, .groups))
    case (false, "PoolRevoked"):
      self = .poolRevoked(
        pool: try require(fields.pool, .pool), cause: try require(fields.cause, .cause))
    case (false, "PoolExists"): self = .poolExists(pool: try require(fields.pool, .pool))
    case (false, "LeaseTableFull"):
      self = .leaseTableFull(capacity: try require(fields.capacity, .capacity))
    case (false, "QuotaExceeded"):
      self = .quotaExceeded(
        what: try require(fields.what, .what), limit: try require(fields.limit, .limit),
        used: try require(fields.used, .used), pool: fields.pool)
    case (false, "NoSuchDevice"):
      self = .noSuchDevice(device: try require(fields.device, .device), bar: fields.bar)
    case (false, "DeviceRefused"):
      self = .deviceRefused(
        device: try require(fields.device, .device), rules: try require(fields.rules, .rules))
    case (false, "DeviceError"):
      self = .deviceError(
        operation: try require(fields.operation, .operation),
        subject: try require(fields.subject, .subject), errno: try require(fields.errno, .errno),
        cause: fields.cause)
    default: return nil
    }
  }
}

extension BrokerError: Encodable {
  public func encode(to encoder: any Encoder) throws {
    try Fields(self).encode(to: encoder)
  }
}

/// Every field that any of the errors has. They are few, and their names mean the same everywhere.
private struct Fields: Codable {
  var pool: String?
  var lease: LeaseID?
  var generation: Generation?
  var bytes: ByteCount?
  var size: ByteCount?
  var available: ByteCount?
  var largestFree: ByteCount?
  var alignment: ByteCount?
  var offset: ByteCount?
  var reason: Broker1.BusyReason?
  var uid: UID?
  var leases: Int?
  var holders: Int?
  var capacity: Int?
  var what: Broker1.QuotaSubject?
  var limit: Int?
  var used: Int?
  var device: String?
  var bar: Int?
  var rules: [Broker1.Refusal]?
  var operation: String?
  var subject: String?
  var errno: Int32?
  var cause: String?
  var interface: String?
  var erasing: ByteCount?
  var method: String?
  var parameter: String?
  var users: [String]?
  var groups: [String]?

  enum CodingKeys: CodingKey {
    case pool, lease, generation, bytes, size, available, largestFree, reason, uid, leases, holders
    case capacity, what, limit, used, device, bar, rules, operation, subject, errno, cause
    case alignment, offset, interface, method, parameter, erasing, users, groups
  }

  init(_ error: BrokerError) {
    switch error {
    case .noPool, .permissionDenied, .expectedMore: break
    case .interfaceNotFound(let interface): self.interface = interface
    case .methodNotFound(let method), .methodNotImplemented(let method): self.method = method
    case .invalidParameter(let parameter): self.parameter = parameter
    case .noSuchPool(let pool), .poolExists(let pool), .poolDraining(let pool): self.pool = pool
    case .poolDenied(let pool, let users, let groups):
      (self.pool, self.users, self.groups) = (pool, users, groups)
    case .noSuchLease(let lease): self.lease = lease
    case .staleGeneration(let lease, let generation):
      (self.lease, self.generation) = (lease, generation)
    case .poolTooSmall(let pool, let bytes, let size):
      (self.pool, self.bytes, self.size) = (pool, bytes, size)
    case .poolFull(let pool, let bytes, let available, let erasing):
      (self.pool, self.bytes) = (pool, bytes)
      (self.available, self.erasing) = (available, erasing)
    case .poolFragmented(
      let pool, let bytes, let available, let largestFree, let alignment, let offset):
      (self.pool, self.bytes, self.available) = (pool, bytes, available)
      (self.largestFree, self.alignment, self.offset) = (largestFree, alignment, offset)
    case .poolBusy(let pool, let reason, let uid, let leases, let holders):
      (self.pool, self.reason, self.uid) = (pool, reason, uid)
      (self.leases, self.holders) = (leases, holders)
    case .poolRevoked(let pool, let cause): (self.pool, self.cause) = (pool, cause)
    case .leaseTableFull(let capacity): self.capacity = capacity
    case .quotaExceeded(let what, let limit, let used, let pool):
      (self.what, self.limit, self.used) = (what, limit, used)
      self.pool = pool
    case .noSuchDevice(let device, let bar): (self.device, self.bar) = (device, bar)
    case .deviceRefused(let device, let rules): (self.device, self.rules) = (device, rules)
    case .deviceError(let operation, let subject, let errno, let cause):
      (self.operation, self.subject) = (operation, subject)
      (self.errno, self.cause) = (errno, cause)
    }
  }
}
