public import DeviceDMA
import DeviceMemory
import DeviceSources
import GenPool
import PCIDevices

/// A driver of one NVMe controller: the admin queues and one pair of I/O queues, one command at a
/// time, by polling.
///
/// Every byte that the controller reads or writes lies where the caller's memory puts it: queues,
/// PRP lists, data. The driver asks one question only, `address(of:)`: by which address does the
/// controller find this buffer?
///
/// Its end disables the controller before any memory is given back. Not to be used by two threads.
public final class Driver {
  /// Where the driver puts what it needs itself.
  public struct Memory {
    /// Submission queues, and completion queues.
    public var submissions: BufferPool, completions: BufferPool
    /// PRP lists.
    public var lists: BufferPool

    public init(submissions: BufferPool, completions: BufferPool, lists: BufferPool) {
      self.submissions = submissions
      self.completions = completions
      self.lists = lists
    }
  }

  /// The controller.
  public let controller: NVMeController
  /// What it can do.
  public let capabilities: ControllerCapabilities
  /// Where queues and lists are put from now on. Queues that are open stay where they are.
  public var memory: Memory
  /// How long a command may take before it is given up.
  public var patience: Duration = .seconds(30)

  /// How long a shutdown may take: what the controller said of that when it was last identified,
  /// but at least 5 s, and at most a minute, as Linux has it.
  public private(set) var shutdownPatience = shortestShutdown
  private static let shortestShutdown: Duration = .seconds(5),
    longestShutdown: Duration = .seconds(60)

  private var reach: Reach
  private var admin: QueuePair
  /// The I/O pair while it is open.
  var pair: QueuePair?
  /// Memory that the controller may know of until it is disabled: where each came from.
  private var queues: [(buffer: DMABuffer, memory: BufferPool)] = []

  /// The pages of the controller, and what each queue is given: 64 commands.
  static let page = DataPointer.page
  private static let entries = 64

  /// Resets the controller and enables it with admin queues in `memory` (section 7.6.1).
  public init(_ controller: NVMeController, memory: Memory) throws(NVMeError) {
    let address = controller.address
    self.controller = controller
    self.memory = memory
    reach = try Reach(controller)
    let state = try controller.read()
    capabilities = state.capabilities
    guard capabilities.hasNVMCommands else {
      throw .unsupported("a controller without NVM commands")
    }
    guard capabilities.smallestPage <= Self.page else {
      throw .unsupported("a controller whose smallest page is \(capabilities.smallestPage)")
    }
    guard capabilities.doorbellStride <= 512 else {
      throw .unsupported("doorbells \(capabilities.doorbellStride) apart")
    }
    // Stopped before it may do DMA: whoever had it before may have left commands in it.
    try controller.disable()
    do throws(DeviceError) {
      try controller.source.enableBusMastering(of: address)
    } catch {
      throw .device(error)
    }
    let submissions = try memory.submissions.page(for: .submissionQueues, by: address)
    let completions: DMABuffer
    do throws(NVMeError) {
      completions = try memory.completions.page(for: .completionQueues, by: address)
    } catch {
      try? memory.submissions.free(submissions)
      throw error
    }
    queues = [(submissions, memory.submissions), (completions, memory.completions)]
    admin = try QueuePair(
      number: 0, entries: min(Self.entries, capabilities.queueEntries), submissions: submissions,
      completions: completions, of: controller, stride: capabilities.doorbellStride)
    // From here on the deinit stops the controller and gives the queues back.
    try controller.enable(
      entries: admin.entries, submissions: self.address(of: submissions),
      completions: self.address(of: completions))
    // Once only: after the first I/O queue it would be out of order (section 5.21.1.7).
    try execute(.requestOneQueuePair)
  }

  deinit {
    // One that was pulled out does nothing any more; its registers may be another device's.
    let isGone = !controller.source.isPresent(controller.address)
    // A controller that does not stop still knows its queues: then nobody else may have them.
    guard isGone || (try? controller.disable()) != nil else { return }
    for (buffer, memory) in queues { try? memory.free(buffer) }
  }

  /// Where the controller finds `buffer`.
  public func address(of buffer: DMABuffer) throws(NVMeError) -> DMAAddress {
    try reach.address(of: buffer)
  }

  // MARK: I/O queues

  /// Whether there is a pair of I/O queues.
  public var hasQueues: Bool { pair != nil }

  /// Creates the pair of I/O queues in ``memory``. Nothing when there is one.
  public func openQueues() throws(NVMeError) {
    guard pair == nil else { return }
    let submissions = try memory.submissions.page(for: .submissionQueues, by: controller.address)
    queues.append((submissions, memory.submissions))
    let completions = try memory.completions.page(for: .completionQueues, by: controller.address)
    queues.append((completions, memory.completions))
    let new = try QueuePair(
      number: 1, entries: min(Self.entries, capabilities.queueEntries), submissions: submissions,
      completions: completions, of: controller, stride: capabilities.doorbellStride)
    let (completionsAt, submissionsAt) = (
      try address(of: completions), try address(of: submissions)
    )
    try execute(
      .createCompletionQueue(new.number, entries: new.entries, at: completionsAt.rawValue))
    try execute(
      .createSubmissionQueue(new.number, entries: new.entries, at: submissionsAt.rawValue))
    pair = new
  }

  /// Deletes the I/O queues and gives their memory back. Nothing when there are none.
  public func closeQueues() throws(NVMeError) {
    guard let old = pair else { return }
    pair = nil
    try execute(.deleteSubmissionQueue(old.number))
    try execute(.deleteCompletionQueue(old.number))
    for (buffer, memory) in queues.suffix(2) {
      do throws(BufferPoolError) {
        try memory.free(buffer)
      } catch {
        throw .memory(error)
      }
    }
    queues.removeLast(2)
  }

  /// Ends orderly: queues deleted, caches written, the controller told that the power may go
  /// (section 7.6.2), and disabled.
  public func shutDown() throws(NVMeError) {
    try closeQueues()
    try controller.shutDown(within: shutdownPatience)
    try controller.disable()
  }

  // MARK: Commands

  /// Has the controller do an admin command without data.
  @discardableResult
  func execute(_ command: Command) throws(NVMeError) -> UInt32 {
    try admin.execute(command, within: patience)
  }

  /// Has the controller do an admin command whose data is one page, at `place`.
  ///
  /// `place` may be any number: what is there, if anything, the controller overwrites. What the
  /// caller has stored there should have arrived: ``DeviceSources/DMABuffer/settle(_:for:)``.
  public func execute(_ command: Command, dataAt place: DMAAddress) throws(NVMeError) {
    try execute(command.with(DataPointer(page: place)))
  }

  /// Reads what the controller says of itself into `buffer`, of at least 4 KiB.
  /// - Throws: ``NVMeError/nothingArrived(_:command:at:)`` when it says that it did, but did not.
  public func identify(into buffer: DMABuffer) throws(NVMeError) -> ControllerIdentity {
    let bytes = try identify(.identifyController, into: buffer)
    guard bytes.contains(where: { $0 != 0 }),
      let identity = ControllerIdentity(bytes, smallestPage: capabilities.smallestPage)
    else {
      throw .broken(controller.address, problem: "Identify gave \(bytes.count) bytes of nothing")
    }
    shutdownPatience = min(
      max(identity.shutdownLatency ?? .zero, Self.shortestShutdown), Self.longestShutdown)
    return identity
  }

  /// Reads what namespace `number`, from 1, is like into `buffer`, of at least 4 KiB.
  /// - Throws: as ``identify(into:)``; for a namespace that is not active, which is all zeros.
  public func identify(_ number: UInt32, into buffer: DMABuffer) throws(NVMeError) -> Namespace {
    let bytes = try identify(.identify(number), into: buffer)
    guard let identity = NamespaceIdentity(bytes), identity.blocks > 0 else {
      throw .unsupported("namespace \(number): it is not active, or has blocks that cannot be")
    }
    guard identity.metadataSize == .zero else {
      throw .unsupported("namespace \(number): its blocks carry metadata")
    }
    return Namespace(number: number, identity: identity)
  }

  private func identify(_ command: Command, into buffer: DMABuffer) throws(NVMeError) -> [UInt8] {
    guard buffer.size >= Self.page else { throw .unsupported("Identify into \(buffer.size)") }
    // A status of success proves no data: what is read must not be what was there before.
    let poison = (0..<Self.page.rawValue).map { _ in UInt8.random(in: 0...255) }
    let place = try address(of: buffer)
    try buffer.guarded { buffer throws(DeviceFault) in
      try buffer.write(poison)
      try buffer.settle(Self.page, for: controller.address)
    }
    try execute(command, dataAt: place)
    let bytes = try buffer.guarded { buffer throws(DeviceFault) in
      try buffer.read(count: Self.page)
    }
    guard bytes != poison else {
      throw .nothingArrived(controller.address, command: command.name, at: place)
    }
    return bytes
  }
}

/// A namespace: blocks to read and write.
public struct Namespace: Hashable, Sendable {
  /// From 1.
  public let number: UInt32
  /// What it is like.
  public let identity: NamespaceIdentity
}

extension BufferPool {
  /// A page for the driver itself.
  func page(for use: MemoryUses, by initiator: PCIAddress) throws(NVMeError) -> DMABuffer {
    do throws(BufferPoolError) {
      return try allocate(DataPointer.page, alignment: DataPointer.page, for: use, by: initiator)
    } catch {
      throw .memory(error)
    }
  }
}
