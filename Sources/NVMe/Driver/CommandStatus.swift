import GenPool
import LinuxSystem

/// How a command ended: bits 15:1 of a completion's last word (NVMe 1.4 section 4.6.1).
public struct CommandStatus: Hashable, Sendable {
  /// The field without the phase bit: code 7:0, type 10:8, retry delay 12:11, more 13, do not retry
  /// 14.
  public let rawValue: UInt16

  public init(rawValue: UInt16) {
    self.rawValue = rawValue & 0x7fff
  }

  /// What went wrong, within its type (SC).
  public var code: UInt8 { UInt8(truncatingIfNeeded: rawValue) }
  /// Whose code it is (SCT): 0 generic, 1 of the command, 2 media, 3 path, 7 the vendor's.
  public var type: UInt8 { UInt8(rawValue >> 8 & 0x7) }
  /// Whether the same command would fail again (DNR).
  public var isFinal: Bool { rawValue >> 14 & 1 == 1 }
  /// Whether the controller did what it was told. It says so also of data that went nowhere.
  public var isSuccess: Bool { type == 0 && code == 0 }

  /// The specification's name of the code; nil for one that is not in the tables here.
  public var name: String? {
    switch type {
    case 0: Self.generic[code]
    case 1: Self.specific[code]
    case 2: Self.media[code]
    default: nil
    }
  }

  /// Figures 128 and 129.
  private static let generic: [UInt8: String] = [
    0x00: "Successful Completion", 0x01: "Invalid Command Opcode", 0x02: "Invalid Field in Command",
    0x03: "Command ID Conflict", 0x04: "Data Transfer Error",
    0x05: "Commands Aborted due to Power Loss Notification", 0x06: "Internal Error",
    0x07: "Command Abort Requested", 0x08: "Command Aborted due to SQ Deletion",
    0x0b: "Invalid Namespace or Format", 0x0c: "Command Sequence Error",
    0x0d: "Invalid SGL Segment Descriptor", 0x0e: "Invalid Number of SGL Descriptors",
    0x0f: "Data SGL Length Invalid", 0x10: "Metadata SGL Length Invalid",
    0x11: "SGL Descriptor Type Invalid", 0x12: "Invalid Use of Controller Memory Buffer",
    0x13: "PRP Offset Invalid", 0x14: "Atomic Write Unit Exceeded", 0x15: "Operation Denied",
    0x1c: "Sanitize Failed", 0x1d: "Sanitize In Progress",
    0x20: "Namespace is Write Protected", 0x21: "Command Interrupted",
    0x22: "Transient Transport Error",
    0x80: "LBA Out of Range", 0x81: "Capacity Exceeded", 0x82: "Namespace Not Ready",
    0x83: "Reservation Conflict", 0x84: "Format In Progress",
  ]

  /// Figure 130, of the commands that are used here.
  private static let specific: [UInt8: String] = [
    0x00: "Completion Queue Invalid", 0x01: "Invalid Queue Identifier", 0x02: "Invalid Queue Size",
    0x08: "Invalid Interrupt Vector", 0x0c: "Invalid Queue Deletion",
    0x0d: "Feature Identifier Not Saveable", 0x0e: "Feature Not Changeable",
    0x80: "Conflicting Attributes", 0x81: "Invalid Protection Information",
    0x82: "Attempted Write to Read Only Range",
  ]

  /// Figure 132.
  private static let media: [UInt8: String] = [
    0x80: "Write Fault", 0x81: "Unrecovered Read Error", 0x82: "End-to-end Guard Check Error",
    0x83: "End-to-end Application Tag Check Error", 0x84: "End-to-end Reference Tag Check Error",
    0x85: "Compare Failure", 0x86: "Access Denied", 0x87: "Deallocated or Unwritten Logical Block",
  ]
}

extension CommandStatus: CustomStringConvertible {
  /// `0x4012 Invalid Use of Controller Memory Buffer`.
  public var description: String {
    "0x" + hexadecimal(UInt64(rawValue), digits: 4) + " "
      + (name ?? "type \(type), code 0x\(hexadecimal(UInt64(code), digits: 2))")
  }
}
