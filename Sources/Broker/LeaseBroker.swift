public import BrokerLeases
import BrokerProtocol
import DeviceMemory
public import GenPool
public import LinuxSystem
public import Logging

/// Leases device memory to processes: all of genpoold but its command line.
///
/// One thread and one loop: calls are answered one after the other, so nothing here is locked. Only
/// scrubbing, which takes as long as the device does, has a thread of its own. Not Sendable: made,
/// run and ended on one thread; ``stopper`` reaches it from others.
public final class LeaseBroker {
  /// What is decided from outside.
  public struct Configuration: Sendable {
    /// What Hello and GetInfo say.
    public var version: String
    /// Whose members may attach and detach, beside root and the broker's own user; nil for nobody.
    public var adminGroup: UInt32?
    /// Connections at a time of all users but root, who gets in whatever they do. Whoever is one
    /// too many is told so.
    public var connectionLimit = 1024
    /// Leases at a time, those being scrubbed included.
    public var leaseLimit = 65_536
    /// What each user may have of all that.
    public var quotas = Quotas()
    /// How long a connection may leave replies unread.
    public var stallLimit: Duration = .seconds(30)
    /// For how long lines of the log are counted that a user brings about by what is refused.
    public var logPeriod: Duration = .seconds(10)
    /// How much is zeroed before its memory can be leased.
    public var scrubSlice = ByteCount.mebibytes(1)
    /// Where each pool's calls are written to a file of its own, for `genpool-bench replay`; nil
    /// for nowhere.
    public var recordDirectory: String?
    /// The directory for records of outstanding memory, which later runs read; nil to keep them as
    /// long as the broker lives. Made if missing; the broker's user alone may write to it.
    public var runtimeDirectory: String?

    public init(version: String, adminGroup: UInt32? = nil) {
      self.version = version
      self.adminGroup = adminGroup
    }
  }

  /// Ends a broker from any thread.
  public final class Stopper: Sendable {
    fileprivate let event: EventCounter

    fileprivate init() throws(SystemError) {
      event = try attempt("create", "an event", try EventCounter())
    }

    /// Makes ``LeaseBroker/run()`` return soon.
    public func stop() {
      event.raise()
    }
  }

  /// Ends it from any thread.
  public let stopper: Stopper

  /// Told the address of a device that was added, or of one that was removed once its memory is not
  /// held any more: pools of it that are wanted can be attached now, if it is there.
  public var onDeviceReady: (LeaseBroker, String) -> Void = { _, _ in }

  let provider: any DeviceProvider
  /// What is decided from outside. Changed by ``reconfigure(_:)``.
  private(set) var configuration: Configuration
  let logger: Logger

  let loop: EventLoop
  /// Rate-limited lines of users. Changed by ``reconfigure(_:)``.
  let limiter: LogRateLimiter
  /// Those that serve the broker and are made with it.
  private var parts: (server: Server, regions: Regions)?
  let leases: Leases<ParkedCall>
  /// Told the name of a pool that was drained and is detached now.
  public var onDrained: (String) -> Void = { _ in }

  /// The replies of GetInterfaceDescription that were asked for, by interface.
  var encodedDescriptions: [String: [UInt8]] = [:]

  /// A broker without pools that nobody can reach yet. Signals should be blocked by now: the
  /// scrubber's thread starts here.
  public init(
    provider: any DeviceProvider, configuration: Configuration, logger: Logger
  ) throws(SystemError) {
    self.provider = provider
    self.configuration = configuration
    self.logger = logger
    leases = Leases(capacity: configuration.leaseLimit, quotas: configuration.quotas)
    stopper = try Stopper()
    loop = try EventLoop()
    limiter = LogRateLimiter(logger, on: loop, period: configuration.logPeriod)
    parts = (
      Server(on: loop, configuration.serverLimits, logger, limiter, for: self),
      try Regions(on: loop, configuration, logger, for: self)
    )
    _ = try loop.add(stopper.event.rawValue, .readable) { [unowned self] _ in loop.stop() }
  }

  /// The connections.
  var server: Server { whole.server }
  /// The attached memory.
  var regions: Regions { whole.regions }

  /// There from the end of `init` on, which hands itself to them.
  private var whole: (server: Server, regions: Regions) {
    guard let parts else { preconditionFailure("a broker is used before it is made") }
    return parts
  }

  /// Accepts connections from `socket` once the broker runs.
  public func listen(on socket: consuming ListeningSocket) throws(SystemError) {
    try server.listen(on: socket)
  }

  /// Serves until it is stopped. Then every BAR has been given back, and every connection is closed
  /// once the broker itself goes.
  public func run() throws(SystemError) {
    try loop.run()
    detachAll()
  }

  /// Calls `handler` when `descriptor`, a signalfd say, has something to read, between two calls of
  /// clients. The descriptor must stay open until the broker ends.
  public func watch(
    _ descriptor: CInt, handler: @escaping (LeaseBroker) -> Void
  ) throws(SystemError) {
    _ = try loop.add(descriptor, .readable) { [unowned self] _ in handler(self) }
  }

  /// Makes ``run()`` return after the present event. From other threads: ``stopper``.
  public func stop() {
    loop.stop()
  }

  /// Decides anew. Limits and quotas hold from the next call on: nobody loses what it has. The
  /// admins' group is that of new connections. Pools that are there are recorded from what they
  /// hold now.
  public func reconfigure(_ change: (inout Configuration) -> Void) {
    change(&configuration)
    regions.record(in: configuration.recordDirectory)
    leases.reconfigure(capacity: configuration.leaseLimit, quotas: configuration.quotas)
    limiter.period = configuration.logPeriod
    server.reconfigure(configuration.serverLimits)
    scheduleRetry()
  }
}

extension LeaseBroker.Configuration {
  /// The part that is the server's.
  fileprivate var serverLimits: Server.Limits {
    Server.Limits(
      quotas: quotas, connections: connectionLimit, stall: stallLimit, adminGroup: adminGroup)
  }
}
