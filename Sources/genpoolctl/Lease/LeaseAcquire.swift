import ArgumentParser
import BrokerProtocol
import DeviceMemory
import GenPool
import GenPoolClient
import Glibc

/// `genpoolctl lease acquire`
struct LeaseAcquire: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "acquire",
    abstract: "Leases device memory, and holds it, fills it, dumps it, or runs a command with it.",
    usage: "genpoolctl lease acquire --size <n> [<options>] [-- <command> ...]",
    discussion: """
      In this order: acquires and maps the memory, fills it, writes it to a file, prints the lease, \
      dumps it; then runs COMMAND, or holds the lease until SIGINT or SIGTERM (--hold, and by default when there is \
      nothing else to do), and gives it back. genpoold zeroes it before anyone else gets it, also \
      when this process is killed.

      COMMAND takes the place of this process, so the lease ends when COMMAND does. It inherits the \
      descriptor, to be mapped shared at the given offset, and finds in its environment:
        GENPOOL_LEASE_FD, _OFFSET, _SIZE  what to map, in decimal
        GENPOOL_LEASE_PHYSICAL, _BUS      its addresses, 0x..., if they are known
        GENPOOL_LEASE_ID, _GENERATION     which lease it is
      The lease is printed on standard error then, unless --json is given, so that standard output \
      is COMMAND's.

      EXAMPLES
        genpoolctl lease acquire --size 2M --align 2M
        genpoolctl lease acquire --size 64K --fill 0xa5 --dump=32
        genpoolctl lease acquire --size 2M --label "slurm job $SLURM_JOB_ID" -- ./program
        genpoolctl lease acquire --size 1M --fill-from in --dump-to out --json
        genpoolctl lease acquire --size 64K -- python3 -c 'import mmap, os; \\
          n = lambda key: int(os.environ["GENPOOL_LEASE_" + key]); \\
          m = mmap.mmap(n("FD"), n("SIZE"), offset=n("OFFSET")); m[:5] = b"hello"'
      """)

  @Option(
    help: ArgumentHelp("How much; rounded up to the pool's granule.", valueName: "n"),
    transform: ByteCount.parseArgument)
  var size: ByteCount

  @Option(
    help: ArgumentHelp(
      "The pool, or the start of its name (default: the first that can).", valueName: "name"))
  var pool: String?

  @Option(
    help: ArgumentHelp(
      "Align the physical and the bus address to this power of two; goes with the first fit only.",
      valueName: "n"),
    transform: ByteCount.parseArgument)
  var align: ByteCount?

  @Option(help: "How to choose among the free runs.")
  var fit: FitChoice?

  @Option(
    help: ArgumentHelp("Where in the pool, for the fixed fit.", valueName: "n"),
    transform: ByteCount.parseArgument)
  var offset: ByteCount?

  @Option(
    help: ArgumentHelp(
      "Wait so long for memory to come free, those first who asked first (default: only for memory "
        + "that is being zeroed).", valueName: "seconds"))
  var wait: Seconds?

  @Option(
    help: ArgumentHelp(
      "A label for people, which lease list and monitor show: \(Broker1.Lease.labelLimit) printable ASCII "
        + "characters at most, such as \"slurm job 12\".", valueName: "text"))
  var label: String?

  @Option(help: ArgumentHelp("Fill it with this byte, like 165 or 0xa5.", valueName: "byte"))
  var fill: FillByte?

  @Option(
    help: ArgumentHelp(
      "Fill it with this file, from its start; - is standard input.", valueName: "file"))
  var fillFrom: String?

  @Option(
    defaultAsFlag: DumpLength.all, parsing: .next,
    help: ArgumentHelp("Print its first N bytes, or all, like hexdump -C.", valueName: "n"))
  var dump: DumpLength?

  @Option(help: ArgumentHelp("Write all of it to this file.", valueName: "file"))
  var dumpTo: String?

  @Flag(help: "Hold it until SIGINT or SIGTERM.")
  var hold = false

  @OptionGroup var broker: BrokerOptions
  @OptionGroup var output: OutputOptions

  @Argument(
    parsing: .postTerminator,
    help: ArgumentHelp("After --: what to run with the lease.", valueName: "command"))
  var command: [String] = []

  func validate() throws {
    if size == .zero { throw ValidationError("--size: a lease has at least one byte.") }
    if fill != nil, fillFrom != nil {
      throw ValidationError("--fill and --fill-from exclude each other.")
    }
    if hold, !command.isEmpty {
      throw ValidationError("--hold and a command exclude each other: the command holds the lease.")
    }
    if output.json, dump != nil {
      throw ValidationError("--dump prints text; with --json use --dump-to FILE.")
    }
    if let label, !Broker1.Lease.isLabel(label) {
      throw ValidationError(
        "--label: it has 1 to \(Broker1.Lease.labelLimit) printable ASCII characters.")
    }
    if let align, !align.isPowerOfTwo {
      throw ValidationError("--align: \(align) is no power of two.")
    }
    if align != nil, let fit, fit != .first {
      throw ValidationError("--align goes with the first fit only, not with \(fit.rawValue).")
    }
    if (offset != nil) != (fit == .fixed) {
      throw ValidationError("--offset and --fit fixed go together.")
    }
    if let offset, !offset.isMultiple(of: Self.leastGranule) {
      throw ValidationError(
        "--offset: \(offset) is no multiple of a granule, which is a page (\(Self.leastGranule)) at least."
      )
    }
  }

  func run() throws {
    let contents = try FillSource(byte: fill?.value, file: fillFrom, size: size)
    try FaultGuard.enable()
    let connection = try broker.connect()
    let lease = try acquire(over: connection)
    try contents?.fill(lease.region)
    if let dumpTo { try lease.region.writeDump(to: dumpTo) }
    // Until here a signal ends the process at once. Whoever has seen the lease printed may rely on it.
    // Likewise of its revocation.
    let signals = isHeld ? try EndSignals(events: broker.connect().events()) : nil
    try printFacts(of: lease.grant)
    if let dump { try lease.region.printDump(of: dump.bytes(of: lease.size)) }
    if isHeld, !output.json || StandardError.isTerminal {
      StandardError.write(
        "Held until SIGINT (Ctrl-C), SIGTERM or SIGHUP: kill \(getpid()) gives it back.\n")
    }

    if let program = Program(command) {
      throw program.replaceProcess(with: lease, of: connection)
    }
    let id = lease.grant.lease
    if let cause = try signals?.wait(for: id, whileConnected: connection) {
      // genpoold may have forgotten it by now, which is no news.
      try? lease.release()
      throw Failure("lease \(id) was revoked: \(cause)")
    }
    try lease.release()
  }

  private func acquire(over connection: Connection) throws -> Lease {
    func lease(from pool: String?) throws(ClientError) -> Lease {
      try connection.acquire(
        size, from: pool, alignment: align, fit: fit?.name, offset: offset, wait: wait?.duration,
        label: label)
    }
    do {
      guard let pool else { return try lease(from: nil) }
      return try connection.withPool(pool) { name throws(ClientError) in try lease(from: name) }
    } catch let error as ClientError {
      throw explanation(of: error, from: connection)
    }
  }

  /// What no pool, or this user, may ever have is no matter of trying again.
  private func explanation(of error: ClientError, from connection: Connection) -> any Error {
    if case .broker(.invalidParameter("offset")) = error, let offset,
      let pool = try? connection.pools().first(where: {
        (pool == nil || $0.name == pool) && !$0.hasPlace(at: offset, for: size)
      })
    {
      return Failure(
        "lease \(size) at offset \(offset.hex) of pool \(pool.name): it has \(pool.size) in all, in granules "
          + "of \(pool.granule)")
    }
    guard case .broker(.quotaExceeded(.bytes, let limit, _, let pool)) = error,
      size.rawValue > limit
    else {
      return error
    }
    return Failure(
      "lease \(size): this user's quota is \(ByteCount(UInt64(clamping: limit))) "
        + "\(pool.map { "of pool \($0)" } ?? "in all"); ask for less, or "
        + "have it raised (genpoold.json(5))")
  }

  /// The smallest granule that a pool may have.
  private static let leastGranule = GranuleSize.page.byteCount

  /// Whether the lease outlives what is done with it.
  private var isHeld: Bool {
    let isForSomething = !command.isEmpty || fill != nil || fillFrom != nil || dump != nil
    return hold || !(isForSomething || dumpTo != nil)
  }

  private func printFacts(of grant: Broker1.Lease) throws(Failure) {
    if output.json {
      try StandardOutput.write(JSONDocument(grant).text)
    } else if command.isEmpty {
      try StandardOutput.write(grant.facts)
    } else {
      StandardError.write(grant.facts)
    }
  }
}

extension Broker1.Pool {
  /// Whether a lease of `size` can be at `offset` at all.
  fileprivate func hasPlace(at offset: ByteCount, for size: ByteCount) -> Bool {
    offset.isMultiple(of: granule) && offset <= self.size && size <= self.size - offset
  }
}

extension Broker1.Lease {
  /// What people want to know of a lease.
  fileprivate var facts: String {
    var sheet = FactSheet()
    sheet.add("lease", "\(lease), generation \(generation)")
    sheet.add("label", label)
    sheet.add("pool", "\(pool), at offset \(offset.hex)")
    sheet.add("size", size.description)
    sheet.add("physical", physical?.description)
    sheet.add("bus", bus?.description)
    sheet.add("map offset", mapOffset.hex)
    sheet.add("caching", caching)
    sheet.add("isolation", isolation)
    return sheet.text
  }
}
