import ArgumentParser
import BrokerProtocol
import DeviceMemory
import GenPool
import GenPoolClient
import Glibc
import SystemPackage

/// A process that leases memory, outlives its device, and goes on writing to where the memory was. One
/// word a state is printed: `held`, `revoked` once it has let go, `written` after standard input has
/// ended and all of the memory has been written to again.
struct Outlive: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "outlive")

  @Option(help: "The pool to lease from.")
  var pool: String

  func run() throws {
    let lease = try Connection().acquire(.kibibytes(64), from: pool)
    try write(0x5a5a_5a5a, to: lease.region.mapping)
    try say("held")
    while try !lease.checkRevoked() { usleep(50_000) }
    try say("revoked")
    while getchar() >= 0 {}
    try write(0x6b6b_6b6b, to: lease.region.mapping)
    try say("written")
    while true { pause() }
  }

  private func write(_ word: UInt32, to mapping: borrowing Mapping) throws {
    var offset = ByteCount.zero
    while offset < mapping.size {
      try mapping.store(word, at: offset)
      offset = offset + 4
    }
    let last: UInt32 = try mapping.load(at: mapping.size - 4)
    try expect(last == word, "what was written is not there")
  }

  private func say(_ word: String) throws {
    _ = try FileDescriptor.standardOutput.writeAll("\(word)\n".utf8)
  }
}
