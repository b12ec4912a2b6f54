import ArgumentParser
import BrokerProtocol
import DeviceMemory
import GenPool
import GenPoolClient
import Glibc
import LinuxSystem
import SystemPackage

/// A process that leases memory, outlives its device, and goes on writing to where the memory was. One
/// word a state is printed: `held`, `revoked` once it has let go, `written` after standard input has
/// ended and all of the memory has been written to again.
struct Outlive: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "outlive")

  @Option(help: "The pool to lease from.")
  var pool: String

  @Flag(help: "Do not let go, but take the lock off the memory's descriptor.")
  var unlock = false

  func run() throws {
    let connection = try Connection()
    let lease = try connection.acquire(.kibibytes(64), from: pool)
    try write(0x5a5a_5a5a, to: lease.region.mapping)
    try say("held")
    if unlock {
      try takeLocksOff(lease.region.range.descriptor.rawValue)
      while try connection.leases().contains(where: { $0.state != .revoked }) { usleep(50_000) }
    } else {
      while try !lease.checkRevoked() { usleep(50_000) }
    }
    try say("revoked")
    while getchar() >= 0 {}
    try write(0x6b6b_6b6b, to: lease.region.mapping)
    try say("written")
    while true { pause() }
  }

  private func takeLocksOff(_ descriptor: CInt) throws {
    var all = flock()
    all.l_type = Int16(F_UNLCK)
    let setLock: CInt = 37  // F_OFD_SETLK, which Glibc's module lacks
    let result = unsafe fcntl(descriptor, setLock, &all)
    try expect(result == 0, "the lock cannot be taken off")
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
