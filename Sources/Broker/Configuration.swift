public import BrokerLeases
public import GenPool

extension LeaseBroker {
  /// The settings of a broker.
  public struct Configuration: Sendable {
    /// The version that Hello and GetInfo return.
    public var version: String
    /// The group whose members may connect to the admins' socket, beside root and the broker's own
    /// user; nil for none.
    public var adminGroup: UInt32?
    /// Connections at a time of all users but root, which gets in regardless. One more is answered
    /// with an error.
    public var connectionLimit = 1024
    /// Processes of an account but root's that are connected or may reach memory, at a time: each
    /// costs a descriptor for as long. One more is not let in.
    public var processLimit = 4096
    /// Leases at a time, those being scrubbed included.
    public var leaseLimit = 65_536
    /// The limits of each user.
    public var quotas = Quotas()
    /// The longest time for which a connection may leave replies unread.
    public var stallLimit: Duration = .seconds(30)
    /// The time for which lines of the log are counted that a user causes by refused calls.
    public var logPeriod: Duration = .seconds(10)
    /// The bytes that are zeroed at a time, and can be leased then.
    public var scrubSlice = ByteCount.mebibytes(1)
    /// The directory for a record of each pool's calls, for `genpool-bench replay`; nil for none.
    public var recordDirectory: String?
    /// The directory for records of outstanding memory, which later runs read; nil to keep them as
    /// long as the broker lives. Made if missing; the broker's user alone may write to it.
    public var runtimeDirectory: String?

    public init(version: String, adminGroup: UInt32? = nil) {
      self.version = version
      self.adminGroup = adminGroup
    }
  }
}

extension LeaseBroker.Configuration {
  /// The part that is the server's.
  var ofServer: Server.Settings {
    Server.Settings(
      quotas: quotas, connections: connectionLimit, processes: processLimit, stall: stallLimit,
      adminGroup: adminGroup, version: version)
  }
}
