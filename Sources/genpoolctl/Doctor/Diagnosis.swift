import BrokerProtocol
import PCIDevices
import SystemPackage

/// The facts of a machine that decide whether device memory can be leased or mapped there. Found
/// out by reading files: no memory of a device is touched, and nothing is written.
struct Diagnosis: Sendable {
  /// The emulated tree that stands for `/sys`; nil for a machine's own.
  let tree: String?
  let kernel: KernelFacts
  let caller: CallerFacts
  let daemon: DaemonFacts
  let devices: MachineDevices
  /// The free and all huge pages of 2 MiB.
  let hugePages: Fact<HugePages>

  /// The huge pages of one size.
  struct HugePages: Hashable, Sendable {
    let free: Int
    let all: Int
  }

  /// Reads the facts of `root`.
  /// - Parameters:
  ///   - socket: where the daemon is expected.
  ///   - ask: asks a daemon that runs.
  init(
    of root: SystemRoot, socket: BrokerSocket,
    ask: (BrokerSocket) -> Fact<DaemonFacts.Answer?> = DaemonFacts.ask
  ) {
    tree = root.isEmulated ? root.sysfs.path.string : nil
    kernel = KernelFacts(of: root)
    caller = CallerFacts(of: root)
    daemon = DaemonFacts(of: root, at: socket, ask: ask)
    devices = MachineDevices(of: root)
    hugePages = Self.hugePages(of: root)
  }

  private static func hugePages(of root: SystemRoot) -> Fact<HugePages> {
    // They are the kernel's, whatever tree stands for its devices.
    let directory = root["/sys/kernel/mm/hugepages/hugepages-2048kB"]
    func number(_ name: String) throws(DeviceError) -> Int {
      try directory[name].attribute().value("a number") { Int($0) }
    }
    do throws(DeviceError) {
      return .known(
        HugePages(free: try number("free_hugepages"), all: try number("nr_hugepages")))
    } catch {
      return .unknown(error.description)
    }
  }

  /// Whether a daemon answers that leases memory now.
  var canLease: Bool { daemon.answer.value??.pools.isEmpty == false }

  /// Whether this process may open memory of a device that no rule refuses.
  var canMap: Bool { devices.all.value?.contains { $0.isOpen } == true }
}

/// One line of a diagnosis.
struct Check: Sendable {
  /// A stable name, for programs: `iommu`.
  let name: String
  let state: State
  /// The facts that the state follows from.
  let cause: String
  /// The command to type, or the thing to do; nil where nothing helps or nothing is to be done.
  let cure: String?
  /// Lines about single subjects, such as devices.
  var details: [String] = []

  /// The result of a check.
  enum State: String, Hashable, Sendable, CaseIterable {
    case works = "works"
    case fails = "does not"
    /// A result that could not be found out, which is never taken for good.
    case unknown = "unknown"
  }

  init(
    _ name: String, _ state: State, _ cause: String, cure: String? = nil, details: [String] = []
  ) {
    self.name = name
    self.state = state
    self.cause = cause
    self.cure = cure
    self.details = details
  }
}
