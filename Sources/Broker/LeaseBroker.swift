import BrokerProtocol
import CLinux
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
    /// Connections at a time of all users but root, who gets in whatever they do. Whoever is one too
    /// many is told so.
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
    /// Where each pool's calls are written to a file of its own, for `genpool-bench replay`; nil for nowhere.
    public var recordDirectory: String?
    /// The directory for records of outstanding memory, which later runs read; nil to keep them as long as the
    /// broker lives. Made if missing; the broker's user alone may write to it.
    public var runtimeDirectory: String?

    public init(version: String, adminGroup: UInt32? = nil) {
      self.version = version
      self.adminGroup = adminGroup
    }
  }

  /// Ends a broker from any thread.
  public final class Stopper: Sendable {
    fileprivate let event: Descriptor

    fileprivate init() throws(SystemError) {
      event = try Descriptor(owningResult: gl_event_create(), of: "create", "an event")
    }

    /// Makes ``LeaseBroker/run()`` return soon.
    public func stop() {
      // Fails only for a descriptor that is no event.
      _ = gl_event_raise(event.rawValue)
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

  let outstanding: OutstandingRecords
  let loop: EventLoop
  let scrubber: Scrubber
  private let scrubberThread: WorkerThread

  var listener: Listener?
  var sessions: [Session.ID: Session] = [:]
  /// How many of them each user has who has some.
  var connectionCounts: [UID: Int] = [:]
  /// Those in line for their next turn.
  var backlog: [Session.ID] = []
  /// Those that hear events.
  var monitors: [Session.ID: Session] = [:]
  var processes: [ClientProcess.ID: ClientProcess] = [:]
  /// In the order in which they were attached.
  var regions: [AttachedRegion] = []
  var leases: LeaseTable
  /// Told the name of a pool that was drained and is detached now.
  public var onDrained: (String) -> Void = { _ in }

  /// What the log has room for.
  var logAllowance = LogAllowance()

  /// The replies of GetInterfaceDescription that were asked for, by interface.
  var encodedDescriptions: [String: [UInt8]] = [:]

  /// Acquires that wait for memory, first come first.
  var parked: [ParkedAcquire] = []

  /// Counts sessions, processes, regions and jobs.
  private var lastNumber = 0

  /// A listening socket.
  struct Listener: ~Copyable {
    let socket: ListeningSocket
    var watch: EventLoop.Watch
    /// No connection is accepted for now.
    var isPaused = false
    /// A timer will end the pause.
    var isResumeTimed = false
  }

  /// A broker without pools that nobody can reach yet. Signals should be blocked by now: the
  /// scrubber's thread starts here.
  public init(
    provider: any DeviceProvider, configuration: Configuration, logger: Logger
  ) throws(SystemError) {
    self.provider = provider
    self.configuration = configuration
    self.logger = logger
    leases = LeaseTable(capacity: configuration.leaseLimit)
    outstanding = try OutstandingRecords(directory: configuration.runtimeDirectory)
    stopper = try Stopper()
    loop = try EventLoop()
    scrubber = try Scrubber()
    scrubberThread = try WorkerThread { [scrubber] in scrubber.run() }
    _ = try loop.add(stopper.event.rawValue, .readable) { [unowned self] _ in loop.stop() }
    _ = try loop.add(scrubber.finishedEvent, .readable) { [unowned self] _ in settleFinished() }
  }

  deinit {
    // The thread is joined when its property goes, and holds no region then.
    scrubber.stop()
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

  /// Decides anew. Limits and quotas hold from the next call on: nobody loses what it has. The admins'
  /// group is that of new connections. Pools that are there are recorded from what they hold now.
  public func reconfigure(_ change: (inout Configuration) -> Void) {
    change(&configuration)
    for region in regions { record(region) }
    leases.capacity = configuration.leaseLimit
    resumeAccepting()
    scheduleRetry()
  }

  /// A number that was never given before.
  func nextNumber() -> Int {
    lastNumber += 1
    return lastNumber
  }
}
