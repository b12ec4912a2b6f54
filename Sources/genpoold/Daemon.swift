import Broker
import BrokerProtocol
import DeviceMemory
import DeviceSources
import Glibc
import LinuxSystem
import Logging
import PCIDevices
import SystemPackage

/// Sets a broker up as a daemon and runs it to its end.
struct Daemon {
  private let options: GenPoolD
  private let environment = ProcessEnvironment.variables
  private let configuration: Configuration
  private let threshold: LogThreshold
  private let log: LogWriter
  private let logger: Logger

  /// Enough for 65,536 leases of a process each (its pidfd, and a witness for 16 leases), 1,024
  /// connections, and the devices. Users are limited below it: ``ClientProcesses/limit``.
  private static let descriptorLimit: UInt64 = 131_072

  /// - Parameters:
  ///   - log: started by ``run()``, and finished by the caller.
  init(
    _ options: GenPoolD, _ configuration: Configuration, log: LogWriter,
    _ form: EventLogHandler.Form
  ) {
    self.options = options
    self.configuration = configuration
    self.log = log
    let threshold = LogThreshold(
      options.logLevel ?? configuration.logLevel ?? Self.levelVariable(environment) ?? .info)
    self.threshold = threshold
    logger = Logger(label: "genpoold") { _ in
      EventLogHandler(form: form, threshold: threshold, write: log.write)
    }
  }

  private static func levelVariable(_ environment: [String: String]) -> Logger.Level? {
    environment["GENPOOL_LOG"].flatMap { Logger.Level(rawValue: $0) }
  }

  /// Returns when a signal has stopped it, with every device given back and the sockets removed.
  func run() throws {
    // First of all: threads that start later leave these signals to the descriptor.
    let signals = try SignalQueue([SIGTERM, SIGINT, SIGHUP])
    try log.start()
    // A log that nobody reads any more is no reason to die, nor is a record that has no more room.
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
    try FaultGuard.enable()
    raiseDescriptorLimit(to: Self.descriptorLimit)

    // Before anything is attached, and so erased: a second daemon finds out here that it is one.
    let sockets = try DaemonSockets.open(
      environment, at: place, group: configuration.clientGroup,
      adminGroup: configuration.effectiveAdminGroup, logger: logger)

    if let text = environment["GENPOOL_LOG"], Self.levelVariable(environment) == nil {
      logger.warning("not a level", metadata: ["GENPOOL_LOG": "\(text)", "then": "ignored"])
    }
    if let refusal = options.record?.refusal(
      of: W_OK | X_OK, cure: "--record names it: make it, and writable for genpoold's user")
    {
      throw refusal
    }
    let root = try deviceRoot()
    let provider = try PCIProvider(root: root, logger: logger)
    var decisions = LeaseBroker.Configuration(version: Release.version)
    decisions.runtimeDirectory = runtimeDirectory
    let broker = try LeaseBroker(provider: provider, configuration: decisions, logger: logger)
    let notifier = ServiceNotifier(environment)
    let pools = ConfiguredPools(provider: provider, logger: logger)
    let reloader = ConfigurationReloader(
      of: configuration, from: options.config, levelOption: options.logLevel,
      levelVariable: Self.levelVariable(environment), recordOption: options.record?.path,
      threshold: threshold, logger: logger, pools: pools)
    let reloads = reloadsOnHangUp
    try broker.watch(signals.rawValue) { broker in
      while let signal = signals.next() {
        guard signal == SIGHUP, reloads else { return broker.stop() }
        notifier?.notifyReloading()
        reloader.reload(broker)
        notifier?.notify("READY=1")
      }
    }
    broker.onDrained = { [unowned broker] _ in pools.reconcile(broker) }
    // Before anything is attached, so that nothing is missed.
    watchDevices(of: root, for: broker, pools)
    try broker.watchDevices(provider.requests.descriptor) {
      provider.requests.drain().map { .requested($0.description) }
    }
    // What the command line names must be there, though it may be in use; what the configuration
    // names may come later.
    try provider.openingMany {
      for attachment in options.attachments {
        notifier?.notify(
          "STATUS=Attaching \((try? attachment.id())?.description ?? attachment.device)")
        _ = try broker.attachWhenFree(attachment)
      }
    }
    reloader.apply(to: broker)

    try sockets.serve(by: broker)
    notifier?.notify("READY=1", "STATUS=\(broker.status)")
    if let notifier, let interval = notifier.heartbeatInterval {
      broker.every(interval) { [unowned broker] in
        notifier.notify("WATCHDOG=1", "STATUS=\(broker.status)")
      }
    }
    logger.notice(
      "ready", metadata: ["version": "\(Release.version)", "pools": "\(broker.poolNames.count)"])
    try broker.run()
    // From here on the manager's stop time-out counts, no longer its watchdog.
    notifier?.notify("STOPPING=1", "STATUS=Giving the devices back")
    logger.notice("stopped")
  }

  /// Hot-plug is told where it can be: a sandbox may not let the daemon hear of it, and it serves
  /// all the same.
  private func watchDevices(
    of root: SysfsRoot, for broker: LeaseBroker, _ pools: ConfiguredPools
  ) {
    do throws(SystemError) {
      _ = try HotPlug(
        of: root, for: broker, wanted: options.attachments, pools: pools, logger: logger)
    } catch {
      logger.warning("no hot-plug", metadata: ["cause": "\(error)"])
    }
  }

  /// Where devices are looked for. One that somebody named and that is not there is a slip of the
  /// pen.
  private func deviceRoot() throws(SystemError) -> SysfsRoot {
    let root = options.sysfsRoot.map { SysfsRoot(FilePath($0)) } ?? .standard
    guard unsafe access(root.path.string, F_OK) == 0 else {
      throw SystemError(
        operation: "look for devices in", subject: root.path.string, errno: Errno(rawValue: errno),
        cause: (options.sysfsRoot == nil ? "GENPOOL_SYSFS_ROOT" : "--sysfs-root") + " names it")
    }
    return root
  }

  /// Where to listen for clients, unless the service manager passes a socket.
  private var place: BrokerSocket {
    (options.socket ?? configuration.socket).map { BrokerSocket(path: $0) }
      ?? BrokerSocket(environment: environment, uid: getuid())
  }

  /// The directory for records that later runs read.
  private var runtimeDirectory: String {
    if let directory = options.runtimeDirectory { return directory }
    // systemd.exec(5): several are separated by colons.
    if let text = environment["RUNTIME_DIRECTORY"], let first = text.split(separator: ":").first {
      return String(first)
    }
    if geteuid() == 0 { return "/run/genpoold" }
    if let directory = environment["XDG_RUNTIME_DIR"], !directory.isEmpty {
      return directory + "/genpoold"
    }
    return "/tmp/genpoold-\(geteuid())"
  }

  /// SIGHUP reloads a configuration. Where there is none it ends the daemon, so that closing a
  /// terminal does not leave devices changed; but a service manager may find a file that has come
  /// since.
  private var reloadsOnHangUp: Bool {
    options.config != nil || Configuration.isThereAStandardFile
      || environment["NOTIFY_SOCKET"] != nil
  }
}
