import Broker
import BrokerLeases
import Glibc
import LinuxSystem
import Logging

/// Reads the configuration file of a running daemon again, and follows it as far as that goes
/// without a restart.
final class ConfigurationReloader {
  private let path: String?
  private let levelOption: Logger.Level?
  private let levelVariable: Logger.Level?
  private let recordOption: String?
  private let threshold: LogThreshold
  private let logger: Logger
  private let pools: ConfiguredPools
  /// The configuration that holds now.
  private var configuration: Configuration

  /// `levelOption` and `recordOption` are above the configuration's, `levelVariable` below it.
  init(
    of configuration: Configuration, from path: String?, levelOption: Logger.Level?,
    levelVariable: Logger.Level?, recordOption: String?, threshold: LogThreshold, logger: Logger,
    pools: ConfiguredPools
  ) {
    self.path = path
    self.configuration = configuration
    self.levelOption = levelOption
    self.levelVariable = levelVariable
    self.recordOption = recordOption
    self.threshold = threshold
    self.logger = logger
    self.pools = pools
  }

  /// Makes the broker, the log and the pools what the configuration has.
  func apply(to broker: LeaseBroker) {
    pools.want(configuration.pools)
    reconcile(broker)
  }

  private func reconcile(_ broker: LeaseBroker) {
    let effective = effective(configuration)
    threshold.level = effective.logLevel ?? levelVariable ?? .info
    broker.reconfigure {
      effective.configure(&$0)
    }
    pools.reconcile(broker)
  }

  /// The options that override a key of the file, by the key.
  private var overridingOptions: [String: String] {
    var options: [String: String] = [:]
    if levelOption != nil { options["logLevel"] = "--log-level" }
    if recordOption != nil { options["record"] = "--record" }
    return options
  }

  /// A configuration as it comes to be: what the command line says is above it.
  private func effective(_ configuration: Configuration) -> Configuration {
    var effective = configuration
    effective.logLevel = levelOption ?? configuration.logLevel
    effective.record = recordOption ?? configuration.record
    return effective
  }

  /// Reads the file again. If anything is wrong with it, everything stays as it is.
  func reload(_ broker: LeaseBroker) {
    do throws(InvalidConfiguration) {
      let new = try Configuration.current(path)
      let changes = ConfigurationChanges(
        from: configuration, to: new, overriddenBy: overridingOptions)
      // Pools that the old file wants, too: detached by an admin, or refused until now.
      let missing = pools.missing(from: broker, among: new.pools)
      configuration = new
      // Logged first, in case it is the log that is to be quieter.
      for change in changes.lines { logger.notice("reload", metadata: ["change": "\(change)"]) }
      for (change, option) in changes.overridden {
        logger.warning(
          "reload", metadata: ["change": "\(change)", "then": "no effect: \(option) overrides it"])
      }
      for change in changes.afterRestart {
        logger.warning("reload", metadata: ["change": "\(change)", "then": "needs a restart"])
      }
      pools.want(new.pools)
      // Before any of them is.
      for name in pools.erasable(in: broker) {
        logger.warning(
          "erase",
          metadata: ["pool": "\(name)", "then": "its memory is erased when it is attached"])
      }
      reconcile(broker)
      let attached = missing.intersection(broker.attachedPoolNames)
      for name in attached.sorted() {
        logger.notice(
          "reload", metadata: ["change": "pool \(name): attached, which it was not before"])
      }
      logger.notice(
        "reloaded",
        metadata: [
          "changes": "\(changes.count + attached.count)", "pools": "\(new.pools.count)",
        ])
    } catch {
      for line in error.lines {
        logger.error("invalid configuration", metadata: ["cause": "\(line)"])
      }
      logger.error(
        "reload refused",
        metadata: [
          "problems": "\(error.problems.count)", "then": "the old configuration holds",
        ])
    }
  }
}

extension Configuration {
  /// What the file at `path` says, or nil for the standard place; where there is none, nothing.
  static func current(_ path: String?) throws(InvalidConfiguration) -> Configuration {
    if let path { return try Configuration(file: path) }
    return isThereAStandardFile ? try Configuration(file: standardPath) : Configuration()
  }

  /// Whether there is a file at the standard place for this user. It is root's only: what others
  /// start is a broker of their own, and the file is about the machine's.
  static var isThereAStandardFile: Bool {
    unsafe geteuid() == 0 && access(standardPath, F_OK) == 0
  }

  /// What it means for the broker. What it leaves out is the broker's default.
  func configure(_ broker: inout LeaseBroker.Configuration) {
    let standard = LeaseBroker.Configuration(version: broker.version)
    broker.adminGroup = effectiveAdminGroup
    broker.leaseLimit = maxLeases ?? standard.leaseLimit
    broker.quotas = effectiveQuotas
    broker.recordDirectory = record
  }
  /// The quotas, where users' shares follow from the number of all leases, and the users of
  /// containers share the quota of who has their numbers.
  private var effectiveQuotas: Quotas {
    var effective = quotas
    if let maxLeases, quotas.defaults.leases == Quotas.Limits.standard.leases {
      effective.defaults.leases = max(1, maxLeases / 4)
    }
    effective.subordinates = SubordinateUsers(file: "/etc/subuid")
    return effective
  }

  /// The group whose members may connect as clients; nil for none.
  var clientGroup: UInt32? { group?.gid ?? Accounts.group("genpool") }

  /// The group whose members may connect as admins; nil for none.
  var effectiveAdminGroup: UInt32? { adminGroup?.gid ?? Accounts.group("genpool-admin") }
}
