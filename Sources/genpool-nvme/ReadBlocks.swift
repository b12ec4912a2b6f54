import ArgumentParser
import NVMe

/// `genpool-nvme read BDF`
struct ReadBlocks: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "read",
    abstract: "Reads blocks of a namespace by way of memory of your choice.",
    discussion: """
      The controller writes the blocks into --data by DMA, from where they go to --out. The memory \
      is filled with random bytes before: success without data is noticed.

      EXAMPLE
        genpool-nvme read 01:00.0 --lba 0 --blocks 8 --data 02:00.0:cmb --out first.img
      """)

  @OptionGroup var options: SessionOptions
  @OptionGroup var place: BlockOptions

  @Option(help: ArgumentHelp("How many blocks.", valueName: "number"))
  var blocks: UInt64

  @Option(help: ArgumentHelp("Where they go; - is standard output.", valueName: "file"))
  var out: String

  func run() throws {
    guard !(options.json && out == "-") else {
      throw ValidationError("--json and --out - both want standard output")
    }
    let file = try Streams.open(out, forWriting: true)
    let session = try Session(options)
    try session.whileOpen {
      let transfer = try Transfer(session, place, .read, blocks: blocks)
      try transfer.forEachCommand(place, blocks: blocks) { first, count, size in
        try Streams.write(transfer.read(first, count, size), to: file, out)
      }
      let document = try TransferDocument(transfer, place, blocks: blocks, options.data)
      if options.json {
        try Streams.write(json: document)
      } else {
        Streams.complain(document.line("read"))
      }
    }
  }
}
