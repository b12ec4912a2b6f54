import ArgumentParser
import DeviceMemory
import DeviceSources
import GenPool
import NVMe
import PCIDevices

/// The options that every verb has: which controller, and where things lie.
struct SessionOptions: ParsableArguments {
  @Argument(help: "The controller, like 0000:01:00.0 or 01:00.0.")
  var controller: PCIAddress

  @Option(help: ArgumentHelp("Where submission queues lie.", valueName: "place"))
  var queues: Place = .host

  @Option(help: ArgumentHelp("Where completion queues lie.", valueName: "place"))
  var completions: Place = .host

  @Option(help: ArgumentHelp("Where PRP lists lie.", valueName: "place"))
  var lists: Place = .host

  @Option(help: ArgumentHelp("Where data lies.", valueName: "place"))
  var data: Place = .host

  @Option(help: ArgumentHelp("An attach rule that may be broken, such as hotplug.", valueName: "rule"))
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

  /// Opens all memory, then takes the controller over.
  init(_ options: SessionOptions) throws {
    var opened = OpenPlaces(
      initiator: options.controller, allowed: Set(options.allow), source: SysfsSource())
    let controller = try opened.controller(at: options.controller)
    data = try opened.memory(options.data)
    let memory = Driver.Memory(
      submissions: try opened.memory(options.queues),
      completions: try opened.memory(options.completions), lists: try opened.memory(options.lists))
    driver = try Driver(controller, memory: memory)
    let page = try data.allocate(.kibibytes(4), for: .readData, by: controller.address)
    identity = try driver.identify(into: page)
    try data.free(page)
  }

  /// Runs `body`, then shuts the controller down whatever came of it.
  func whileOpen(_ body: () throws -> Void) throws {
    do {
      try body()
    } catch {
      try? driver.shutDown()
      throw error
    }
    try driver.shutDown()
  }

  /// Memory for data: `size` of it, for the controller to read or to write.
  func allocate(_ size: ByteCount, for use: MemoryUses) throws -> DMABuffer {
    try data.allocate(size, for: use, by: driver.controller.address)
  }
}

/// The places that are open, each once: a BAR has one user.
private struct OpenPlaces {
  let initiator: PCIAddress
  let allowed: Set<String>
  let source: SysfsSource
  private var controllers: [PCIAddress: NVMeController] = [:]
  private var memories: [Place: BufferPool] = [:]

  init(initiator: PCIAddress, allowed: Set<String>, source: SysfsSource) {
    self.initiator = initiator
    self.allowed = allowed
    self.source = source
  }

  /// How much of the host's memory is taken: queues, a list, and what one command moves at most.
  private static let hostSize: ByteCount = .mebibytes(4)

  mutating func controller(at address: PCIAddress) throws(NVMeControllerError) -> NVMeController {
    if let known = controllers[address] { return known }
    let controller = try NVMeController(at: address, source: source, allowed: allowed)
    controllers[address] = controller
    return controller
  }

  mutating func memory(_ place: Place) throws -> BufferPool {
    if let known = memories[place] { return known }
    let memory: BufferPool
    switch place {
    case .host:
      let device = try controller(at: initiator).device
      memory = try BufferPool(host: Self.hostSize, below: DirectHostBridge(above: device))
    case .buffer(let address):
      memory = try BufferPool(mapping: controller(at: address).controllerMemoryBuffer())
    case .persistentRegion(let address):
      memory = try BufferPool(mapping: controller(at: address).persistentMemoryRegion())
    case .bar(let address, let index):
      memory = try BufferPool(
        mapping: source.open(BARRequest(device: address, bar: index, allowed: allowed)))
    }
    memories[place] = memory
    return memory
  }
}
