import Broker
import BrokerProtocol
import CLinux
import DeviceMemory
import FoundationEssentials
import Glibc
import Logging
import PCIDevices
import SystemPackage

/// Sets a broker up as a daemon and runs it to its end.
struct Daemon {
  private let options: GenPoolD
  private let environment = ProcessInfo.processInfo.environment
  private let logger: Logger

  /// Enough for 1024 connections with a socket and a pidfd each, and the devices.
  private static let descriptorLimit: UInt64 = 8192

  init(_ options: GenPoolD) {
    self.options = options
    var logger = Logger(label: "genpoold") { StreamLogHandler.standardError(label: $0) }
    let wanted = ProcessInfo.processInfo.environment["GENPOOL_LOG"].flatMap {
      Logger.Level(rawValue: $0)
    }
    logger.logLevel = options.logLevel ?? wanted ?? .info
    self.logger = logger
  }

  /// Returns when a signal has stopped it, with every device given back and the socket removed.
  func run() throws {
    openStandardStreams()
    // First of all: threads that start later leave these signals to the descriptor.
    let signals = try Self.endSignals()
    // A log that nobody reads any more is no reason to die.
    signal(SIGPIPE, SIG_IGN)
    try FaultGuard.enable()
    _ = gl_raise_descriptor_limit(Self.descriptorLimit)

    var configuration = LeaseBroker.Configuration(version: Release.version)
    configuration.adminGroup = Self.group(named: "genpool-admin")
    let broker = try LeaseBroker(
      provider: SysfsProvider(root: options.sysfsRoot.map { SysfsRoot(FilePath($0)) } ?? .standard),
      configuration: configuration, logger: logger)
    try broker.stop(whenReadable: signals.rawValue)
    let readiness = Readiness(environment)
    for attachment in options.attachments {
      readiness?.tell("STATUS=Attaching BAR \(attachment.bar) of \(attachment.device)")
      _ = try broker.attach(attachment)
    }

    try broker.listen(on: listeningSocket())
    readiness?.tell("READY=1", "STATUS=\(broker.status)")
    if let readiness, let interval = readiness.heartbeatInterval {
      broker.every(interval) { [unowned broker] in
        readiness.tell("WATCHDOG=1", "STATUS=\(broker.status)")
      }
    }
    logger.notice("ready", metadata: ["version": "\(Release.version)"])
    try broker.run()
    // From here on the manager's stop time-out counts, no longer its watchdog.
    readiness?.tell("STOPPING=1", "STATUS=Giving the devices back")
    logger.notice("stopped")
  }

  /// The socket that the service manager passed, or one of our own.
  private func listeningSocket() throws -> ListeningSocket {
    if let inherited = try SocketActivation.socket(environment) {
      return try ListeningSocket(inherited: inherited)
    }
    let place =
      options.socket.map { BrokerSocket(path: $0) }
      ?? BrokerSocket(environment: environment, uid: getuid())
    logger.info("listen", metadata: ["socket": "\(place)"])
    // Giving a file to a group that one is not in takes root.
    let group = geteuid() == 0 ? Self.group(named: "genpool") : nil
    return try ListeningSocket(path: place.path, group: group)
  }

  /// What stops it: SIGHUP too, so that closing a terminal does not leave devices changed.
  private static func endSignals() throws(SystemError) -> Descriptor {
    let signals = [SIGTERM, SIGINT, SIGHUP]
    let result = unsafe signals.withUnsafeBufferPointer {
      unsafe gl_signals_create($0.baseAddress, CInt($0.count))
    }
    guard result >= 0 else {
      throw SystemError(
        operation: "wait for", subject: "signals", errno: Errno(rawValue: -result))
    }
    return Descriptor(owning: result)
  }

  private static func group(named name: String) -> gid_t? {
    var group: gid_t = 0
    return unsafe gl_group(name, &group) == 0 ? group : nil
  }

  /// Opens those of the three standard streams that are closed, so that no device gets their numbers,
  /// and the log with it.
  private func openStandardStreams() {
    while let file = try? FileDescriptor.open(FilePath("/dev/null"), .readWrite) {
      guard file.rawValue > STDERR_FILENO else { continue }
      try? file.close()
      return
    }
  }
}
