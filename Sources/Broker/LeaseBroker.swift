import BrokerLeases
import BrokerProtocol
public import LinuxSystem
public import Logging

/// Leases device memory to processes: all of genpoold but its command line.
///
/// A call comes to the server, the leases decide on it, the regions have the memory, and the server
/// answers; the broker itself only asks the three.
///
/// One thread and one loop: calls are answered one after the other, so nothing here is locked. Only
/// scrubbing, which takes as long as the device does, has a thread of its own. Not Sendable: made,
/// run and ended on one thread; ``stopper`` reaches it from others.
public final class LeaseBroker {
  /// Ends it from any thread.
  public let stopper: Stopper

  /// Called with the address of a device that was added, or of one that was removed once its memory
  /// is not held any more: pools of it that are wanted can be attached now, if it is there.
  public var onDeviceReady: (LeaseBroker, String) -> Void = { _, _ in }

  /// Called with the name of a pool that was drained and is detached now.
  public var onDrained: (String) -> Void = { _ in }

  /// Changed by ``reconfigure(_:)``.
  private var configuration: Configuration
  let logger: Logger

  let loop: EventLoop
  /// Rate-limited lines of users. Changed by ``reconfigure(_:)``.
  let limiter: LogRateLimiter
  /// Made with the broker, which they call.
  private var parts: (server: Server, regions: Regions)?
  let leases: Leases<PendingCall>
  /// Lines of who got and gave back memory.
  let auditor: AuditLog
  /// The processes that have died and whose leases have not all ended yet.
  var dying: Set<ProcessID> = []
  /// Whether Acquires that wait are decided on anew in the loop's next round.
  var isRetryScheduled = false

  /// A broker without pools and without a socket. Signals should be blocked by now: the
  /// scrubber's thread starts here.
  public init(
    provider: any DeviceProvider, configuration: Configuration, logger: Logger
  ) throws(SystemError) {
    self.configuration = configuration
    self.logger = logger
    leases = Leases(capacity: configuration.leaseLimit, quotas: configuration.quotas)
    stopper = try Stopper()
    loop = try EventLoop()
    limiter = LogRateLimiter(logger, on: loop, period: configuration.logPeriod)
    auditor = AuditLog(logger, on: loop, period: configuration.logPeriod)
    parts = (
      Server(on: loop, configuration.ofServer, logger, limiter, for: self),
      try Regions(of: provider, on: loop, configuration, logger, for: self)
    )
    _ = try loop.add(stopper.descriptor, .readable) { [unowned self] _ in loop.stop() }
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

  /// Accepts connections from `socket` once the broker runs. Those from a socket for admins are
  /// admins' sessions, and no others are.
  public func listen(on socket: consuming ListeningSocket) throws(SystemError) {
    try server.listen(on: socket)
  }

  /// Serves until it is stopped. Then every BAR has been given back, and every connection is closed
  /// once the broker itself goes.
  public func run() throws(SystemError) {
    try loop.run()
    // Of these no event will tell any more.
    for process in dying.union(server.deadProcesses) { regions.removeHolder(process) }
    regions.detachAll()
    auditor.finish()
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

  /// Changes the settings. Limits and quotas hold from the next call on: no client loses what it
  /// has. The admins' group holds for connections that are there, too. Pools that are there are
  /// recorded from what they hold now.
  public func reconfigure(_ change: (inout Configuration) -> Void) {
    change(&configuration)
    regions.record(in: configuration.recordDirectory)
    leases.reconfigure(capacity: configuration.leaseLimit, quotas: configuration.quotas)
    limiter.period = configuration.logPeriod
    auditor.period = configuration.logPeriod
    server.reconfigure(configuration.ofServer)
    scheduleRetry()
  }

  // MARK: The service

  /// Calls `action` every `interval` while ``run()`` serves, on its thread: never when the loop
  /// hangs, which is what a watchdog must find out.
  public func every(_ interval: Duration, do action: @escaping () -> Void) {
    loop.every(interval, do: action)
  }

  /// The numbers of what it serves at this moment, for people: "2 pools, 5 leases, 3 connections".
  public var status: String {
    func count(_ number: Int, _ noun: String) -> String {
      "\(number) \(noun)\(number == 1 ? "" : "s")"
    }
    let waiting = regions.waiting.count
    return
      ([
        count(regions.list.count, "pool"), count(leases.heldCount, "lease"),
        count(server.sessionCount, "connection"),
      ] + (waiting > 0 ? [count(waiting, "pool") + " waiting for memory"] : [])).joined(
        separator: ", ")
  }
}
