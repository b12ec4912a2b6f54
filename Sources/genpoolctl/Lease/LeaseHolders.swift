import ArgumentParser
import BrokerProtocol
import GenPoolClient
import LinuxSystem
import SystemPackage

/// `genpoolctl lease holders [POOL]`
struct LeaseHolders: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "holders",
    abstract: "Names the processes that reach a pool's memory, with or without a lease.",
    usage: "genpoolctl lease holders [<pool>] [<options>]",
    discussion: """
      For root. Lists each process, but for the daemon, that has a descriptor or a mapping of the pool's BAR: \
      lessees, their children, and processes that opened the BAR by themselves. LEASES counts the \
      process's leases of the pool; a child of a lessee has none and reaches the memory all the same.

      A "?" marks a process that has a device of VFIO open or mapped that the kernel does not name (older \
      kernels name none, and no kernel names a mapped one): perhaps it is not the pool's.

      Processes of other pid namespaces than this one's are not seen, nor descriptors in flight in a socket, files that \
      io_uring keeps, and memory reached through /dev/mem or /proc/bus/pci. Other users' processes are seen by root \
      only: without it the exit status is 1, after what is seen was printed.

      EXAMPLE
        genpoolctl lease holders cmb --json | jq '.holders[].pid'
      """)

  @Argument(help: "Only this pool, by its name as pool list shows it, or the start of it.")
  var pool: String?

  @OptionGroup var broker: BrokerOptions
  @OptionGroup var output: OutputOptions

  func run() throws {
    let connection = try broker.connectToShow()
    let pools =
      try pool.map { text in
        try connection.withPool(text) { name throws(ClientError) in
          [try connection.describe(pool: name).pool]
        }
      } ?? connection.pools()
    let survey = try HolderSurvey(
      of: pools, leases: connection.leases(of: pool == nil ? nil : pools.first?.name),
      excluding: Self.daemon(at: connection.socket))
    for note in survey.notes { StandardError.write("note: \(note)\n") }
    try output.write(survey.document, text: survey.text)
    if let failure = survey.failure { throw failure }
  }

  /// The daemon's process, nil when it is in another pid namespace. Not what the socket's peer
  /// credentials name: the service manager listens before it starts the daemon.
  private static func daemon(at socket: BrokerSocket) throws -> Int32? {
    let hello = try Call(Broker1.Hello.self, .init()).frame()
    return try attempt("find the process at", socket.path, try sender(answering: hello, at: socket))
  }

  private static func sender(
    answering frame: [UInt8], at socket: BrokerSocket
  ) throws(Errno) -> Int32? {
    let connected = try StreamSocket(connectingTo: socket.path)
    try connected.requestSenders()
    // A frame of 60 bytes is sent whole.
    _ = try connected.send(frame[...])
    return try connected.nextSender(milliseconds: 30_000)
  }
}
