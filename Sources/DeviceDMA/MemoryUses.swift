/// What an NVMe controller can keep in memory of its own: bits 4:0 of CMBSZ (NVMe 1.4 section
/// 3.1.12).
///
/// It binds the owner only. For other devices the memory is a range on the bus that they read and
/// write like any other, once it is enabled.
public struct MemoryUses: OptionSet, Hashable, Sendable {
  public let rawValue: UInt32

  /// The uses whose bits `rawValue` has, higher bits ignored.
  public init(rawValue: UInt32) {
    self.rawValue = rawValue & 0x1f
  }

  /// Submission queues (SQS).
  public static let submissionQueues = Self(rawValue: 1 << 0)
  /// Completion queues (CQS).
  public static let completionQueues = Self(rawValue: 1 << 1)
  /// PRP and SGL lists (LISTS).
  public static let lists = Self(rawValue: 1 << 2)
  /// Data that commands move from the controller to the host (RDS): what a read reads.
  public static let readData = Self(rawValue: 1 << 3)
  /// Data that commands move from the host to the controller (WDS): what a write writes.
  public static let writeData = Self(rawValue: 1 << 4)
  /// All five.
  public static let all = Self(rawValue: 0x1f)

  /// The uses and their names, in the order of their bits.
  private static let names: [(use: Self, name: String)] = [
    (.submissionQueues, "submission queues"), (.completionQueues, "completion queues"),
    (.lists, "PRP and SGL lists"), (.readData, "read data"), (.writeData, "write data"),
  ]

  /// Each use that is in the set, in words.
  public var words: [String] {
    Self.names.compactMap { contains($0.use) ? $0.name : nil }
  }
}

extension MemoryUses: CustomStringConvertible {
  /// `submission queues, read data`, or `nothing`.
  public var description: String { isEmpty ? "nothing" : words.joined(separator: ", ") }
}
