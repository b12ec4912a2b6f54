import ArgumentParser
import BrokerProtocol
import GenPool
import GenPoolClient
import PCIDevices

/// `genpoolctl wait`
struct WaitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "wait",
    abstract: "Waits until a daemon answers, a pool is ready, or a device is there.",
    usage: "genpoolctl wait [--daemon] [--pool <name> [--state <state>] [--available <n>]] "
      + "[--device <bdf>] [--timeout <seconds>]",
    discussion: """
      For scripts and CI, in the place of sleep. All conditions that are given have to hold, at the time when each \
      is looked at: devices first, then the daemon, then the pool. Exit status 0 when they do, 75 when --timeout \
      is over before: standard error has the condition that did not hold, and why. With \
      --json the result is one document, "met" and a list of "conditions", in both cases.

      --daemon: genpoold answers at the socket. One that is not there yet is tried ten times a second.

      --pool: the pool is attached, and in the state of --state: active (the default: it leases), or \
      drained (`genpoolctl pool drain`; one that is detached meanwhile counts as drained if it was seen \
      before). Changes of state are heard from the daemon. With --available, at least \
      that much of it is clean and free, in any number of pieces: that is looked up four times a second, as \
      no event reports it. A daemon that is not there, or is started again, is waited for.

      --device: the device is plugged in, and a memory BAR of it breaks no attach rule, or none but those \
      that allow= lifts and is a pool of the daemon's already (a daemon that does not run is not started by that). Hot-plug is heard from the kernel; what else may change, such as a mounted disk, is \
      looked up each second.

      EXAMPLES
        genpoolctl wait --daemon --timeout 10
        genpoolctl wait --pool cmb --available 64M && make check
        genpoolctl pool drain cmb && genpoolctl wait --pool cmb --state drained --timeout 600
      """)

  @Flag(help: "Wait until genpoold answers.")
  var daemon = false

  @Option(
    help: ArgumentHelp("Wait for this pool, by its name or the start of it.", valueName: "name"))
  var pool: String?

  @Option(help: "The state of the pool to wait for.")
  var state: PoolGoal = .active

  @Option(
    help: ArgumentHelp(
      "Wait until so much of the pool is clean and free.", valueName: "n"),
    transform: ByteCount.parseArgument)
  var available: ByteCount?

  @Option(
    help: ArgumentHelp("Wait until this device can be attached.", valueName: "bdf"),
    transform: PCIAddress.parseArgument)
  var device: PCIAddress?

  @Option(
    help: ArgumentHelp("How long to wait; 0 is one look.", valueName: "seconds"))
  var timeout: Seconds = Seconds(duration: .seconds(30))

  @Option(
    help: ArgumentHelp(
      "The daemon's socket for clients (default: see genpoolctl --help).", valueName: "path"))
  var socket: String?

  @OptionGroup var output: OutputOptions

  func validate() throws {
    guard daemon || pool != nil || device != nil else {
      throw ValidationError("Say what to wait for: --daemon, --pool or --device.")
    }
    guard pool != nil || (available == nil && state == .active) else {
      throw ValidationError("--state and --available go with --pool.")
    }
    guard available == nil || state == .active else {
      throw ValidationError(
        "--available goes with an active pool: nothing is leased of a drained one.")
    }
  }

  func run() throws {
    let end = ContinuousClock.now + timeout.duration
    let place = socket.map { BrokerSocket(path: $0) } ?? .standard
    var conditions: [any WaitCondition] = []
    if let device { conditions.append(try DeviceCondition(device, daemon: place)) }
    if daemon { conditions.append(DaemonCondition(place)) }
    if let pool {
      conditions.append(PoolCondition(pool, state, available: available, daemon: place))
    }
    var results: [WaitResult] = []
    for condition in conditions {
      let problem = try condition.wait(until: end)
      results.append(WaitResult(condition: condition.name, problem: problem))
      if problem != nil { break }
    }
    let failed = results.first { $0.problem != nil }
    let document = WaitDocument(met: failed == nil, conditions: results)
    if output.json || failed == nil {
      try output.write(document, text: results.map { "\($0.condition): yes\n" }.joined())
    }
    if let failed, let problem = failed.problem {
      throw Failure(
        "wait for \(failed.condition): not within \(timeout.text) s (\(problem))",
        status: Failure.temporary)
    }
  }
}

/// A pool's state that `wait` waits for.
enum PoolGoal: String, CaseIterable, ExpressibleByArgument {
  case active
  case drained
}

/// A condition that `wait` waits for.
protocol WaitCondition {
  /// A word or two for it: `pool cmb`.
  var name: String { get }

  /// Returns nil when it holds, else the reason why it did not when `end` came. Looks once at
  /// least.
  func wait(until end: ContinuousClock.Instant) throws -> String?
}

/// The end of the wait for a condition.
struct WaitResult {
  let condition: String
  /// The reason why it did not hold; nil when it did.
  let problem: String?
}

extension WaitResult: Encodable {
  private enum CodingKeys: CodingKey { case condition, met, problem }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(condition, forKey: .condition)
    try container.encode(problem == nil, forKey: .met)
    try container.encodeIfPresent(problem, forKey: .problem)
  }
}

/// The result of `wait` for programs.
private struct WaitDocument: Encodable {
  let met: Bool
  let conditions: [WaitResult]
}
