public import ArgumentParser
import BrokerProtocol
public import GenPool
import GenPoolClient

/// `genpool-bench lease`: how long a lease takes to get and to give back.
struct LeaseCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lease",
    abstract: "Times Acquire and Release against a running genpoold.",
    discussion: """
      Each round acquires a lease, maps it, unmaps it and releases it, as a client does: two round \
      trips over the socket, one descriptor, one mapping. Before it, two round trips are made to a \
      process in C that answers at once, with messages as long and one descriptor: "echo", which \
      blocks in recvmsg, is the least that any process can take; "epoll", which waits in epoll_wait, \
      the least that a server of many clients can. Latencies are in microseconds.

      With --held so many other leases are held meanwhile, of a granule each, in the same pool. They \
      end with this process. Several numbers are measured one after the other, and must rise.

      EXAMPLE
        genpool-bench lease --held 10 --held 50000
      """)

  @Option(help: "Rounds that are counted; a tenth more comes before, uncounted.")
  var rounds = 2000

  @Option(help: "Size of a lease.")
  var size = ByteCount.kibibytes(64)

  @Option(help: "Leases to hold meanwhile; can be repeated (default: 0).")
  var held: [Int] = []

  @Option(help: ArgumentHelp("The pool (default: the first that can).", valueName: "name"))
  var pool: String?

  @Option(help: ArgumentHelp("Where genpoold listens.", valueName: "path"))
  var socket: String?

  @Flag(help: "Print a JSON array, an object for each number of held leases.")
  var json = false

  func validate() throws {
    guard rounds > 0 else { throw ValidationError("--rounds is at least 1") }
    guard size > .zero else { throw ValidationError("--size is at least 1 byte") }
    guard held.allSatisfy({ $0 >= 0 }), zip(held, held.dropFirst()).allSatisfy({ $0 < $1 }) else {
      throw ValidationError("--held is at least 0, and several rise")
    }
  }

  func run() throws {
    let echo = try EchoBaseline(waitingIn: .recvmsg)
    let epoll = try EchoBaseline(waitingIn: .epoll)
    let connection = try socket.map { try Connection(to: BrokerSocket(path: $0)) } ?? Connection()
    var count = 0
    var results: [LeaseLatencies] = []
    for wanted in held.isEmpty ? [0] : held {
      while count < wanted {
        // Neither mapped nor with a descriptor here: a process cannot map so many.
        _ = try connection.call(Broker1.Acquire.self, .init(pool: pool, bytes: 1))
        count += 1
      }
      let latencies = try measure(connection, echo, epoll, held: count)
      results.append(latencies)
      if !json { print(latencies.table) }
    }
    let machine = Machine()
    if json {
      print(try results.map { Document(self, $0, on: machine) }.jsonRows)
    }
  }

  private func measure(
    _ connection: Connection, _ echo: borrowing EchoBaseline, _ epoll: borrowing EchoBaseline,
    held: Int
  ) throws -> LeaseLatencies {
    let clock = ContinuousClock()
    var echoed: [Duration] = []
    var polled: [Duration] = []
    var acquired: [Duration] = []
    var released: [Duration] = []
    for round in 0..<(rounds + rounds / 10) {
      // Each after the lease in every other round: what comes second finds the caches warm.
      let isEchoFirst = round.isMultiple(of: 2)
      let begin = clock.now
      if isEchoFirst { try echo.roundTrips() } else { try epoll.roundTrips() }
      let between = clock.now
      if isEchoFirst { try epoll.roundTrips() } else { try echo.roundTrips() }
      let start = clock.now
      let lease = try connection.acquire(size, from: pool)
      let middle = clock.now
      try lease.release()
      let end = clock.now
      guard round >= rounds / 10 else { continue }
      let (first, second) = (begin.duration(to: between), between.duration(to: start))
      echoed.append(isEchoFirst ? first : second)
      polled.append(isEchoFirst ? second : first)
      acquired.append(start.duration(to: middle))
      released.append(middle.duration(to: end))
    }
    return LeaseLatencies(
      held: held, acquire: .init(acquired), release: .init(released),
      both: .init(zip(acquired, released).map { $0 + $1 }), echo: .init(echoed),
      epoll: .init(polled))
  }

  /// One JSON object: the latencies beside the terms.
  private struct Document: Encodable {
    private let size: ByteCount
    private let rounds: Int
    private let latencies: DatedRow<LeaseLatencies>

    init(_ command: LeaseCommand, _ latencies: LeaseLatencies, on machine: Machine) {
      size = command.size
      rounds = command.rounds
      self.latencies = DatedRow(latencies, on: machine)
    }

    private enum CodingKeys: String, CodingKey {
      case bytes, rounds, unit
    }

    func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(size.rawValue, forKey: .bytes)
      try container.encode(rounds, forKey: .rounds)
      try container.encode("us", forKey: .unit)
      try latencies.encode(to: encoder)
    }
  }
}

extension ByteCount: ExpressibleByArgument {}
