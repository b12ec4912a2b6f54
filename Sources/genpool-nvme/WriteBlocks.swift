import ArgumentParser
import DeviceDMA
import GenPool
import NVMe
import PCIDevices

/// `genpool-nvme write BDF`
struct WriteBlocks: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "write",
    abstract: "Writes blocks of a namespace by way of memory of your choice.",
    discussion: """
      The processor puts the data into --data, the controller takes it from there by DMA. What was in \
      the blocks is lost. With --verify they are read back, by the same memory, and compared.

      EXAMPLE
        genpool-nvme write 01:00.0 --lba 0 --in first.img --data 02:00.0:cmb --verify
        genpool-nvme write 01:00.0 --lba 0 --blocks 8 --pattern 0xa5
      """)

  @OptionGroup var options: SessionOptions
  @OptionGroup var place: BlockOptions

  @Option(help: ArgumentHelp("What is written; - is standard input.", valueName: "file"))
  var `in`: String?

  @Option(
    help: ArgumentHelp("A byte to fill the blocks with instead, like 0xa5.", valueName: "byte"))
  var pattern: String?

  @Option(help: ArgumentHelp("How many blocks; all of the file's by default.", valueName: "number"))
  var blocks: UInt64?

  @Flag(help: "Read the blocks back and compare.")
  var verify = false

  func run() throws {
    let content = try Content(file: `in`, pattern: pattern)
    let session = try Session(options)
    try session.whileOpen {
      let page = try session.allocate(.kibibytes(4), for: .readData)
      let blockSize = try session.driver.identify(place.namespace, into: page).identity.blockSize
      try session.data.free(page)
      let blocks = try self.blocks ?? content.blocks(of: blockSize)
      let transfer = try Transfer(session, place, .write, blocks: blocks)
      var written: UInt64 = 0
      try transfer.forEachCommand(place, blocks: blocks) { first, count, size in
        let bytes = try content.bytes(from: written, size)
        try transfer.buffer.write(bytes)
        try session.driver.move(.write, transfer.namespace, first, count, [transfer.buffer])
        written += size.rawValue
        guard verify else { return }
        guard try transfer.read(first, count, size) == bytes else {
          throw Problem(
            "Write on \(session.driver.controller.address) reported success, but blocks from "
              + "\(first.rawValue) on do not hold what was written")
        }
      }
      try session.driver.flush(transfer.namespace)
      let document = try TransferDocument(transfer, place, blocks: blocks, options.data)
      if options.json {
        try Streams.write(json: document)
      } else {
        Streams.complain(document.line("wrote"))
      }
    }
  }

  /// What goes into the blocks.
  private enum Content {
    case bytes([UInt8], name: String)
    case pattern(UInt8)

    /// The most that a file may hold: it is read before the controller is touched.
    private static let limit = 256 << 20

    init(file: String?, pattern: String?) throws {
      switch (file, pattern) {
      case (let name?, nil):
        let descriptor = try Streams.open(name, forWriting: false)
        let bytes = try Streams.read(Self.limit + 1, from: descriptor, name)
        guard bytes.count <= Self.limit, !bytes.isEmpty else {
          throw Problem("read \(name): it is empty, or longer than \(ByteCount(Self.limit))")
        }
        self = .bytes(bytes, name: name)
      case (nil, let text?):
        guard let number = ByteCount(text), let byte = UInt8(exactly: number.rawValue) else {
          throw ValidationError("--pattern \(text) is no byte; write 165 or 0xa5")
        }
        self = .pattern(byte)
      default: throw ValidationError("give one of --in and --pattern")
      }
    }

    /// How many whole blocks it is.
    func blocks(of size: ByteCount) throws -> UInt64 {
      guard case .bytes(let bytes, let name) = self else {
        throw ValidationError("--pattern needs --blocks")
      }
      guard ByteCount(bytes.count).isMultiple(of: size) else {
        throw Problem("\(name) has \(bytes.count) bytes, which is not whole blocks of \(size)")
      }
      return UInt64(bytes.count) / size.rawValue
    }

    func bytes(from start: UInt64, _ size: ByteCount) throws -> [UInt8] {
      switch self {
      case .pattern(let byte): return [UInt8](repeating: byte, count: Int(size.rawValue))
      case .bytes(let bytes, let name):
        guard start + size.rawValue <= UInt64(bytes.count) else {
          throw Problem("\(name) has only \(bytes.count) bytes")
        }
        return Array(bytes[Int(start)..<Int(start + size.rawValue)])
      }
    }
  }
}
