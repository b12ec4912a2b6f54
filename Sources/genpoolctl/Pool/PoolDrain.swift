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
      --undo has it lease again. A pool stays drained across reloads of the configuration, until \
      it is detached (attached again it is active) or genpoold ends.

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
        guard try events.wait(until: deadline) else {
          throw Failure(
            "drain pool \(pool.name): not drained in time, \(pool.use); it goes on draining",
            status: Failure.temporary)
        }
        pool = try admin.describe(pool: pool.name).pool
      }
      guard pool.state == .drained else {
        throw Failure("drain pool \(pool.name): it is \(pool.state.rawValue)")
      }
    }
    try output.write(Broker1.DrainPool.Reply(pool: pool), text: Self.sentence(on: pool))
  }

  static func sentence(on pool: Broker1.Pool) -> String {
    switch pool.state {
    case .drained: "Pool \(pool.name) is drained: genpoolctl pool detach \(pool.name)\n"
    case .draining:
      "Pool \(pool.name) leases no more, and is drained when what is leased has ended: \(pool.use).\n"
    case .active: "Pool \(pool.name) leases.\n"
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
  /// `1 lease, 2 processes that reach it`.
  var use: String {
    "\(leases) \(leases == 1 ? "lease" : "leases"), \(holders) "
      + (holders == 1 ? "process that reaches it" : "processes that reach it")
  }
}
