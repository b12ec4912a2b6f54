import GenPool

/// A command as the controller reads it: 64 bytes, 16 little-endian words (NVMe 1.4 section 4.2).
public struct Command: Hashable, Sendable {
  /// The words; the identifier (word 0, bits 31:16) is filled in when the command is submitted.
  public private(set) var words = [UInt32](repeating: 0, count: 16)
  /// What errors call it: `Identify`.
  public let name: String

  /// How long a submission queue's entry is.
  static let size: ByteCount = 64

  /// A command of a queue: words 10 to 15 follow.
  private init(_ name: String, opcode: UInt8, namespace: UInt32 = 0, _ parameters: [UInt32] = []) {
    self.name = name
    words[0] = UInt32(opcode)
    words[1] = namespace
    for (index, word) in parameters.enumerated() { words[10 + index] = word }
  }

  /// The command with its data where `pointer` says (section 4.3, PSDT 00b).
  func with(_ pointer: DataPointer) -> Command {
    var command = self
    command.set(pointer.first, at: 6)
    command.set(pointer.second, at: 8)
    return command
  }

  /// The words with the identifier filled in.
  func words(_ identifier: UInt16) -> [UInt32] {
    var words = words
    words[0] |= UInt32(identifier) << 16
    return words
  }

  private mutating func set(_ address: UInt64, at index: Int) {
    words[index] = UInt32(truncatingIfNeeded: address)
    words[index + 1] = UInt32(address >> 32)
  }
}

extension Command {
  // MARK: Admin commands (section 5)

  /// Identify, 4 KiB about the controller (CNS 01h).
  public static let identifyController = Command("Identify", opcode: 0x06, [0x01])

  /// Identify, 4 KiB about `namespace` (CNS 00h).
  public static func identify(_ namespace: UInt32) -> Command {
    Command("Identify", opcode: 0x06, namespace: namespace, [0x00])
  }

  /// Create I/O Completion Queue: contiguous, without interrupts.
  static func createCompletionQueue(
    _ number: UInt16, entries: Int, at address: UInt64
  ) -> Command {
    var command = Command(
      "Create I/O Completion Queue", opcode: 0x05, [queue(number, entries), 0x1])
    command.set(address, at: 6)
    return command
  }

  /// Create I/O Submission Queue: contiguous, completing to the completion queue of the same
  /// number.
  static func createSubmissionQueue(
    _ number: UInt16, entries: Int, at address: UInt64
  ) -> Command {
    var command = Command(
      "Create I/O Submission Queue", opcode: 0x01,
      [queue(number, entries), UInt32(number) << 16 | 0x1])
    command.set(address, at: 6)
    return command
  }

  /// Delete I/O Submission Queue.
  static func deleteSubmissionQueue(_ number: UInt16) -> Command {
    Command("Delete I/O Submission Queue", opcode: 0x00, [UInt32(number)])
  }

  /// Delete I/O Completion Queue.
  static func deleteCompletionQueue(_ number: UInt16) -> Command {
    Command("Delete I/O Completion Queue", opcode: 0x04, [UInt32(number)])
  }

  /// Set Features, one I/O queue of each kind (feature 07h, counts from 0).
  static let requestOneQueuePair = Command("Set Features", opcode: 0x09, [0x07, 0])

  /// Word 10 of the two creations: the number, and the size, which counts from 0.
  private static func queue(_ number: UInt16, _ entries: Int) -> UInt32 {
    UInt32(number) | UInt32(entries - 1) << 16
  }

  // MARK: Commands of the NVM command set (section 6)

  /// Read `count` blocks from `first` on.
  static func read(_ namespace: UInt32, _ first: BlockAddress, _ count: BlockCount) -> Command {
    Command("Read", opcode: 0x02, namespace: namespace, blocks(first, count))
  }

  /// Write `count` blocks from `first` on.
  static func write(_ namespace: UInt32, _ first: BlockAddress, _ count: BlockCount) -> Command {
    Command("Write", opcode: 0x01, namespace: namespace, blocks(first, count))
  }

  /// Flush: what was written before lasts.
  static func flush(_ namespace: UInt32) -> Command {
    Command("Flush", opcode: 0x00, namespace: namespace)
  }

  private static func blocks(_ first: BlockAddress, _ count: BlockCount) -> [UInt32] {
    [
      UInt32(truncatingIfNeeded: first.rawValue), UInt32(first.rawValue >> 32),
      UInt32(count.rawValue - 1),
    ]
  }
}
