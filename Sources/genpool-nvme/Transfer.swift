import ArgumentParser
import DeviceDMA
import DeviceOpener
import GenPool
import NVMe
import PCIDevices

/// Which blocks, for the verbs that move them.
struct BlockOptions: ParsableArguments {
  @Option(help: ArgumentHelp("The namespace.", valueName: "number"))
  var namespace: UInt32 = 1

  @Option(help: ArgumentHelp("The first block.", valueName: "number"))
  var lba: UInt64
}

/// Blocks that are moved between a namespace and the session's data memory, in as many commands as
/// the controller needs.
struct Transfer {
  let session: Session
  let namespace: Namespace
  /// The buffer that each command uses: as long as one can be.
  let buffer: DMABuffer
  /// How many blocks it holds.
  let blocksAtATime: UInt64

  /// Opens the queues and allocates a buffer for `blocks` blocks, or for as many as one command
  /// moves.
  init(
    _ session: Session, _ options: BlockOptions, _ direction: Driver.Direction, blocks: UInt64
  ) throws {
    self.session = session
    let driver = session.driver
    let use: MemoryUses = direction == .read ? .readData : .writeData
    let page = try session.allocate(.kibibytes(4), for: .readData)
    namespace = try driver.identify(options.namespace, into: page)
    try session.data.free(page)
    let identity = namespace.identity
    guard options.lba < identity.blocks, blocks <= identity.blocks - options.lba, blocks > 0 else {
      throw Problem(
        "namespace \(namespace.number) has \(identity.blocks) blocks; "
          + "\(blocks) from \(options.lba) on are not among them")
    }
    let most = driver.largestTransfer(session.identity).rawValue / identity.blockSize.rawValue
    blocksAtATime = min(blocks, max(1, most), 65536)
    buffer = try session.allocate(identity.blockSize * blocksAtATime, for: use)
    try driver.openQueues()
  }

  /// Calls `body` with each command's first block and number of blocks.
  func forEachCommand(
    _ options: BlockOptions, blocks: UInt64,
    _ body: (BlockAddress, BlockCount, ByteCount) throws -> Void
  ) throws {
    var done: UInt64 = 0
    while done < blocks {
      try session.checkForInterruption()
      let part = min(blocksAtATime, blocks - done)
      guard let count = BlockCount(Int(part)) else { return }
      try body(BlockAddress(options.lba + done), count, namespace.identity.blockSize * part)
      done += part
    }
  }

  /// Reads `size` bytes of blocks, and makes sure that something came: a controller that does not
  /// reach the memory may still report success.
  func read(
    _ first: BlockAddress, _ count: BlockCount, _ size: ByteCount
  ) throws -> [UInt8] {
    let poison = (0..<size.rawValue).map { _ in UInt8.random(in: 0...255) }
    try buffer.write(poison)
    try session.driver.move(.read, namespace, first, count, [buffer])
    let bytes = try buffer.read(count: size)
    guard bytes != poison else {
      throw NVMeError.nothingArrived(
        session.driver.controller.address, command: "Read",
        at: try session.driver.address(of: buffer))
    }
    return bytes
  }
}

/// What was moved, as `--json` shows it.
struct TransferDocument: Encodable {
  let address: String
  let namespace: UInt32
  let lba: UInt64
  let blocks: UInt64
  let blockSize: UInt64
  let data: Placement

  init(_ transfer: Transfer, _ options: BlockOptions, blocks: UInt64, _ place: MemoryChoice) throws
  {
    address = transfer.session.driver.controller.address.description
    namespace = transfer.namespace.number
    lba = options.lba
    self.blocks = blocks
    blockSize = transfer.namespace.identity.blockSize.rawValue
    data = try Placement(transfer.buffer, in: transfer.session, place)
  }

  /// `moved 16 blocks of 512 B by 0000:02:00.0:cmb, bus 0x…`.
  func line(_ verb: String) -> String {
    "\(verb) \(blocks) blocks of \(blockSize) B from block \(lba) on, by \(data.place) at \(data.told)"
  }
}
