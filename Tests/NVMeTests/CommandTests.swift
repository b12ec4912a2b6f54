import DeviceDMA
import GenPool
import Testing

@testable import NVMe

/// Commands as the controller reads them, and what it answers.
@Suite struct CommandTests {
  @Test func `a command's words are where the specification has them`() throws {
    let count = try #require(BlockCount(65536))
    let pointer = try DataPointer(
      [.bus(BusAddress(0x1_2345_6000)), .bus(BusAddress(0x9_8765_4000))], list: nil)
    let words = Command.read(7, BlockAddress(0x1_0000_0002), count).with(pointer).words(0xabcd)
    #expect(words[0] == 0xabcd_0002)
    #expect(words[1] == 7)
    #expect(words[6...9].elementsEqual([0x2345_6000, 1, 0x8765_4000, 9]))
    #expect(words[10...12].elementsEqual([2, 1, 0xffff]))
    #expect(words[2...5].allSatisfy { $0 == 0 } && words[13...15].allSatisfy { $0 == 0 })
  }

  @Test func `queues are created contiguous, without interrupts, as a pair`() {
    let completions = Command.createCompletionQueue(1, entries: 64, at: 0x2_0000_1000).words(0)
    #expect(completions[0] == 5 && completions[10] == 63 << 16 | 1 && completions[11] == 1)
    #expect(completions[6] == 0x1000 && completions[7] == 2)
    let submissions = Command.createSubmissionQueue(1, entries: 64, at: 0x1000).words(0)
    #expect(
      submissions[0] == 1 && submissions[10] == 63 << 16 | 1 && submissions[11] == 1 << 16 | 1)
  }

  @Test func `data that cannot be named is refused`() {
    #expect(throws: NVMeError.self) { try DataPointer([], list: nil) }
    #expect(throws: NVMeError.self) { try DataPointer([.bus(BusAddress(0x800))], list: nil) }
    let pages = (0..<3).map { DMAAddress.bus(BusAddress(0x1000 * UInt64($0))) }
    #expect(throws: NVMeError.self) { try DataPointer(pages, list: nil) }
    #expect(BlockCount(0) == nil && BlockCount(65537) == nil && BlockCount(1) != nil)
  }

  @Test func `a status has a name, or at least its numbers`() {
    #expect(CommandStatus(rawValue: 0).isSuccess)
    let mixed = CommandStatus(rawValue: 0x4012)
    #expect(mixed.description == "0x4012 Invalid Use of Controller Memory Buffer")
    #expect(mixed.isFinal && !mixed.isSuccess)
    #expect(CommandStatus(rawValue: 0x0281).name == "Unrecovered Read Error")
    #expect(CommandStatus(rawValue: 0x0101).name == "Invalid Queue Identifier")
    #expect(CommandStatus(rawValue: 0x07ff).description == "0x07ff type 7, code 0xff")
  }

  @Test func `the identity's texts lose their blanks, and what is no ASCII`() throws {
    var bytes = [UInt8](repeating: 0x20, count: 4096)
    bytes.replaceSubrange(0..<4, with: [0x36, 0x1b, 0xf4, 0x1a])
    bytes.replaceSubrange(4..<9, with: Array("se\u{7}al".utf8))
    bytes.replaceSubrange(24..<28, with: Array("QEMU".utf8))
    bytes[77] = 7
    bytes.replaceSubrange(88..<92, with: [0x40, 0x42, 0x0f, 0])
    bytes.replaceSubrange(516..<520, with: [1, 0, 0, 0])
    let identity = try #require(ControllerIdentity(bytes, smallestPage: .kibibytes(4)))
    #expect(identity.serial == "se?al" && identity.model == "QEMU" && identity.firmware == "")
    #expect(identity.vendor == 0x1b36 && identity.subsystemVendor == 0x1af4)
    #expect(identity.largestTransfer == .kibibytes(512) && identity.namespaces == 1)
    #expect(identity.shutdownLatency == .seconds(1))
    for limit in [0, 200] as [UInt8] {
      bytes[77] = limit
      #expect(ControllerIdentity(bytes, smallestPage: 4096)?.largestTransfer == nil)
    }
    #expect(ControllerIdentity(Array(bytes.dropLast()), smallestPage: 4096) == nil)
  }

  @Test func `a namespace's block is that of the format in use`() throws {
    var bytes = [UInt8](repeating: 0, count: 4096)
    bytes.replaceSubrange(0..<8, with: [0, 0, 2, 0, 1, 0, 0, 0])
    bytes[26] = 0xf3
    bytes.replaceSubrange(140..<143, with: [8, 0, 12])
    let identity = try #require(NamespaceIdentity(bytes))
    #expect(identity.blocks == 0x1_0002_0000)
    #expect(identity.blockSize == 4096 && identity.metadataSize == 8)
    for exponent in [0, 8, 32, 255] as [UInt8] {
      bytes[142] = exponent
      #expect(NamespaceIdentity(bytes) == nil)
    }
  }
}
