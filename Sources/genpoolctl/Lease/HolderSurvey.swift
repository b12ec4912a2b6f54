import BrokerProtocol
import DeviceMemory
import Glibc
import LinuxSystem
import PCIDevices
import SystemPackage

/// The processes that reach the memory of pools, their leases, and what kept others from being
/// found.
struct HolderSurvey {
  /// The names of the pools whose BARs were found, in the order of the scan's memories.
  private let pools: [String]
  /// The names of the pools whose BARs are not in the tree.
  private let absentPools: [String]
  private let scan: ProcessScan
  private let leases: [Broker1.Lease]
  private let isRoot: Bool
  private let seesWholeMachine: Bool
  private let tree: SysfsRoot

  /// Scans the processes of this pid namespace, but for the daemon's.
  init(
    of pools: [Broker1.Pool], leases: [Broker1.Lease], in tree: SysfsRoot = .standard,
    excluding daemon: Int32?
  ) throws {
    var memories: [ProcessScan.Memory] = []
    var found: [String] = []
    var absent: [String] = []
    for pool in pools {
      // A controller's own memory is in no BAR that is known before it was opened.
      guard pool.bar >= 0 else {
        absent.append(pool.name)
        continue
      }
      let memory = try ProcessScan.Memory(
        device: pool.device, bar: pool.bar, isVFIO: pool.source == MemorySource.vfio.rawValue,
        in: tree)
      if let memory {
        memories.append(memory)
        found.append(pool.name)
      } else {
        absent.append(pool.name)
      }
    }
    self.pools = found
    absentPools = absent
    scan = try ProcessScan(for: memories, excluding: daemon)
    self.leases = leases
    self.tree = tree
    isRoot = geteuid() == 0
    seesWholeMachine = ProcessDirectory.areOfWholeMachine
  }

  /// The table of the processes.
  var text: String {
    guard !scan.holders.isEmpty else {
      let subject = pools.count == 1 ? "pool \(pools[0])" : "a pool"
      return "No process was found that reaches memory of \(subject).\n"
    }
    var table = Table([
      .init("POOL"), .init("PID", .right), .init("UID", .right),
      .init("COMMAND", flexible: true), .init("HOW"), .init("LEASES", .right),
    ])
    for holder in scan.holders {
      table.add([
        pools[holder.memory], String(holder.process.pid), String(holder.user),
        holder.command.printable, holder.way, String(leases(of: holder)),
      ])
    }
    return table.text
  }

  /// Restrictions of the result that are no failures, a sentence each.
  var notes: [String] {
    var notes: [String] = []
    if !seesWholeMachine { notes.append("only processes of this pid namespace are seen") }
    if isRoot, scan.unexamined > 0 {
      let count = scan.unexamined == 1 ? "1 process" : "\(scan.unexamined) processes"
      notes.append("the kernel does not let root examine all of \(count)")
    }
    if scan.holders.contains(where: { !$0.isCertain }) {
      notes.append(
        "?: a device of VFIO that the kernel does not name; perhaps it is not the pool's")
    }
    return notes
  }

  /// The reason why processes may be missing from the result; nil if it has all of this pid
  /// namespace.
  var failure: Failure? {
    if !absentPools.isEmpty {
      let names = absentPools.joined(separator: ", ")
      return Failure(
        "find the memory of \(names): the BAR is not in \(tree) (a device that was pulled out, or a "
          + "daemon with another --sysfs-root)")
    }
    guard !isRoot else { return nil }
    let count = scan.unexamined == 0 ? "" : " (\(scan.unexamined) here)"
    return Failure(
      "scan processes: processes of other users\(count) are not seen; run this as root")
  }

  /// The result for programs.
  var document: Document {
    Document(
      pools: pools, absentPools: absentPools, unexamined: scan.unexamined,
      complete: failure == nil && scan.unexamined == 0 && seesWholeMachine,
      holders: scan.holders.map { holder in
        Document.Holder(
          pool: pools[holder.memory], pid: PID(rawValue: holder.process.pid),
          uid: UID(rawValue: holder.user), command: holder.command,
          descriptor: holder.descriptor != .none, mapping: holder.mapping != .none,
          certain: holder.isCertain, leases: leases(of: holder))
      })
  }

  /// The fields of the JSON document.
  struct Document: Codable {
    /// The pools that were looked for.
    let pools: [String]
    /// The pools whose BARs are not there.
    let absentPools: [String]
    /// The number of processes of which this user may not see everything.
    let unexamined: Int
    /// Whether every process of the machine was examined, for every pool.
    let complete: Bool
    let holders: [Holder]

    struct Holder: Codable {
      let pool: String
      let pid: PID
      let uid: UID
      let command: String
      /// Whether the process has an open descriptor.
      let descriptor: Bool
      /// Whether the process has a mapping.
      let mapping: Bool
      /// Whether the kernel names the device that is open or mapped.
      let certain: Bool
      /// The number of the pool's leases that the process has.
      let leases: Int
    }
  }

  private func leases(of holder: ProcessScan.Holder) -> Int {
    leases.count { $0.pool == pools[holder.memory] && $0.pid.rawValue == holder.process.pid }
  }
}

extension ProcessScan.Holder {
  fileprivate var isCertain: Bool { max(descriptor, mapping) == .certain }

  /// `descriptor`, `mapping` or `both`, with a `?` where the device is not known.
  fileprivate var way: String {
    let way = mapping == .none ? "descriptor" : descriptor == .none ? "mapping" : "both"
    return isCertain ? way : way + "?"
  }
}

extension String {
  /// The text without what moves a terminal's cursor or changes the order of its letters: a process
  /// names itself.
  fileprivate var printable: String {
    var text = String.UnicodeScalarView()
    for scalar in unicodeScalars {
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned,
        .privateUse:
        text.append("?")
      default: text.append(scalar)
      }
    }
    return String(text)
  }
}
