import ArgumentParser
import DeviceDMA
import DeviceMemory
import DeviceOpener
import DeviceSources
import GenPool
import NVMe
import PCIDevices

/// The options that every verb has: which controller, and where things lie.
struct SessionOptions: ParsableArguments {
  @Argument(help: "The controller, like 0000:01:00.0 or 01:00.0.")
  var controller: PCIAddress

  @Option(help: ArgumentHelp("Where submission queues lie.", valueName: "place"))
  var queues: MemoryChoice = .host

  @Option(help: ArgumentHelp("Where completion queues lie.", valueName: "place"))
  var completions: MemoryChoice = .host

  @Option(help: ArgumentHelp("Where PRP lists lie.", valueName: "place"))
  var lists: MemoryChoice = .host

  @Option(help: ArgumentHelp("Where data lies.", valueName: "place"))
  var data: MemoryChoice = .host

  @Option(
    help: ArgumentHelp(
      "How devices are opened: sysfs, or vfio behind an IOMMU.", valueName: "source"))
  var source: MemorySource = .sysfs

  @Option(
    help: ArgumentHelp("An attach rule that may be broken, such as hotplug.", valueName: "rule"))
  var allow: [String] = []

  @Flag(help: "Print one JSON document, for programs.")
  var json = false
}

/// A controller that is driven, and the memory that its things lie in.
struct Session {
  let driver: Driver
  /// Where data lies.
  let data: BufferPool
  /// What the controller says of itself.
  let identity: ControllerIdentity
  /// Which devices the kernel wants back; through VFIO it waits for us to let go.
  private let requests: RemovalRequests?

  /// Opens all memory, then takes the controller over. From here on signals wait for
  /// ``checkForInterruption()``.
  init(_ options: SessionOptions) throws {
    Interruption.postpone()
    let memory = DriverMemory(
      initiator: options.controller, source: options.source, allowed: Set(options.allow))
    requests = options.source == .vfio ? try memory.opener.removalRequests() : nil
    let controller = try memory.controller(at: options.controller)
    data = try memory.pool(of: options.data)
    let queues = Driver.Memory(
      submissions: try memory.pool(of: options.queues),
      completions: try memory.pool(of: options.completions),
      lists: try memory.pool(of: options.lists))
    driver = try Driver(controller, memory: queues)
    let page = try data.allocate(.kibibytes(4), for: .readData, by: controller.address)
    identity = try driver.identify(into: page)
    try data.free(page)
  }

  /// Runs `body`, then shuts the controller down whatever came of it.
  func whileOpen(_ body: () throws -> Void) throws {
    do {
      try body()
    } catch {
      do {
        try driver.shutDown()
      } catch let failure {
        Streams.complain("the controller could not be shut down in order: \(failure)")
      }
      throw error
    }
    try driver.shutDown()
  }

  /// Throws between two commands when somebody wants the program to end: by a signal, or the
  /// kernel, which is about to remove a device, or to take it from vfio-pci.
  func checkForInterruption() throws(Problem) {
    try Interruption.check()
    if let device = requests?.drain().first {
      throw Problem("the kernel wants \(device) back; stopped between two commands")
    }
  }

  /// Memory for data: `size` of it, for the controller to read or to write.
  func allocate(_ size: ByteCount, for use: MemoryUses) throws -> DMABuffer {
    try data.allocate(size, for: use, by: driver.controller.address)
  }
}
