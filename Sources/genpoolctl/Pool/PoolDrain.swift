import ArgumentParser
import BrokerProtocol
import GenPoolClient

/// `genpoolctl pool drain POOL`
struct PoolDrain: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "drain",
    abstract: "Keeps a pool from leasing more; what is leased stays.",
    usage: "genpoolctl pool drain <name> [<options>]",
    discussion: """
      For root and the group genpool-admin, by the admin socket. New leases of the pool are refused \
      (PoolDraining, exit status 75 of `lease acquire`), and those that wait for its memory are told so. \
      Leases that are held stay. When the last has ended, and no process reaches the memory any more, the \
      pool is "drained", which `genpoolctl monitor` reports, and `genpoolctl pool detach` will do.

      --wait returns then, or with exit status 75 when SECONDS are over: the pool goes on draining. \
      Where the kernel cannot tell whether a process still reaches the memory, the pool is never "drained", \
      and --wait fails and says so.

      --undo has it lease again. A pool stays drained across reloads of the configuration, and when the \
      configuration or hot-plug attaches it anew, until an admin undoes it or detaches the pool, or \
      genpoold ends.

      EXAMPLE
        genpoolctl pool drain cmb --wait=600 && genpoolctl pool detach cmb
      """)

  @Argument(help: "The pool's name, as pool list shows it, or the start of it.")
  var name: String

  @Option(
    defaultAsFlag: DrainTime.unlimited, parsing: .next,
    help: ArgumentHelp(
      "Wait until the pool is drained, SECONDS at most if they are given.", valueName: "seconds"))
  var wait: DrainTime?

  @Flag(help: "Have the pool lease again.")
  var undo = false

  @OptionGroup var broker: BrokerOptions
  @OptionGroup var output: OutputOptions

  func validate() throws {
    if undo, wait != nil { throw ValidationError("--undo and --wait exclude each other.") }
  }

  func run() throws {
    let admin = try broker.connectAsAdmin()
    // Before the drain begins: its end is not missed then.
    let events = wait == nil ? nil : try PoolEvents(of: broker)
    var pool = try admin.withPool(name) { name throws(ClientError) in
      undo ? try admin.resume(pool: name) : try admin.drain(pool: name)
    }
    if let events, let wait {
      let deadline = wait.duration.map { ContinuousClock.now + $0 }
      while pool.state == .draining {
        if pool.isUnseenForGood {
          throw Failure(
            "drain pool \(pool.name): it leases no more, but is never known to be drained: "
              + "\(Broker1.Pool.unseen); genpoolctl pool detach \(pool.name) gives it back all the same"
          )
        }
        // No event tells that the kernel cannot answer.
        let next = ContinuousClock.now + Self.pause
        if try !events.wait(until: deadline.map { min($0, next) } ?? next),
          let deadline, deadline <= .now
        {
          throw Failure(
            "drain pool \(pool.name): not drained in time, \(pool.use); it goes on draining",
            status: Failure.temporary)
        }
        pool = try present(pool, admin)
      }
      guard pool.state == .drained else {
        throw Failure("drain pool \(pool.name): it is \(pool.state.rawValue)")
      }
    }
    try output.write(Broker1.DrainPool.Reply(pool: pool), text: Self.sentence(on: pool))
  }

  /// The time between two looks at a pool that drains.
  private static let pause = Duration.seconds(1)

  /// The pool as it is now.
  private func present(
    _ pool: Broker1.Pool, _ admin: Connection
  ) throws -> Broker1.Pool {
    do throws(ClientError) {
      return try admin.describe(pool: pool.name).pool
    } catch .broker(.noSuchPool) {
      throw Failure(
        "drain pool \(pool.name): it was detached while it drained; if a reload of the configuration "
          + "or its device's end did that, it is drained still when it is attached again")
    }
  }

  static func sentence(on pool: Broker1.Pool) -> String {
    switch pool.state {
    case .drained: "Pool \(pool.name) is drained: genpoolctl pool detach \(pool.name)\n"
    case .draining:
      "Pool \(pool.name) leases no more, and is drained when what is leased has ended: \(pool.use).\n"
    case .active: "Pool \(pool.name) leases.\n"
    case .revoked where pool.failure != nil:
      "Pool \(pool.name) is revoked: \(pool.failure ?? "").\n"
    default: "Pool \(pool.name) is \(pool.state.rawValue).\n"
    }
  }
}

/// The longest time to wait for the end of a drain.
enum DrainTime: ExpressibleByArgument, CustomStringConvertible {
  case unlimited
  case limited(Seconds)

  init?(argument: String) {
    guard let seconds = Seconds(argument: argument) else { return nil }
    self = .limited(seconds)
  }

  /// Nil for any time.
  var duration: Duration? {
    if case .limited(let seconds) = self { seconds.duration } else { nil }
  }

  /// The text on the command line.
  var description: String {
    switch self {
    case .unlimited: "unlimited"
    case .limited(let seconds): "\(seconds.duration)"
    }
  }
}

extension Broker1.Pool {
  /// The cause for which a pool without leases is not drained.
  static let unseen = "the kernel cannot tell whether a process still reaches its memory"

  /// Whether nothing will tell whether a process reaches its memory. Where the device is opened
  /// anew for that, it may yet: that is not done for a pool that users share.
  var isUnseenForGood: Bool {
    let isReopened = witness == "reopening" && isolation == "uid-exclusive"
    return leases == 0 && holders == 0 && reach == "unknown" && !isReopened
  }

  /// `1 lease, 2 processes that reach it`.
  var use: String {
    if leases == 0, holders == 0, reach == "unknown" { return Self.unseen }
    return "\(leases) \(leases == 1 ? "lease" : "leases"), \(holders) "
      + (holders == 1 ? "process that reaches it" : "processes that reach it")
  }
}
