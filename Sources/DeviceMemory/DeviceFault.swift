public import GenPool
public import LinuxSystem
public import SystemPackage

/// An access to device memory that could not be made, or whose answer is wrong.
///
/// Printed as `zero 4 KiB at 64 MiB of BAR 2 of 0000:01:00.0: …`.
public struct DeviceFault: ErrnoError, Hashable {
  /// What went wrong.
  public enum Reason: Hashable, Sendable {
    /// The access reaches past the end of the memory, which is `size` long.
    case outOfBounds(size: ByteCount)
    /// A register access whose address is not a multiple of its width.
    case misaligned
    /// A store to memory that was mapped to be looked at.
    case readOnly
    /// The memory did not answer (SIGBUS), first at `offset`.
    case noAnswer(offset: ByteCount)
    /// Memory that should be zero is not: `found` at `offset`.
    case notZero(offset: ByteCount, found: UInt64)
  }

  /// What was tried, as a verb: `load`, `store`, `zero`, `write`, `read`, `verify`.
  public let operation: String
  /// Whose memory it is: `BAR 2 of 0000:01:00.0`.
  public let subject: String
  /// Where the access starts in the memory.
  public let offset: ByteCount
  /// How long the access is.
  public let count: ByteCount
  /// What went wrong.
  public let reason: Reason

  package init(
    operation: String, subject: String, offset: ByteCount, count: ByteCount, reason: Reason
  ) {
    self.operation = operation
    self.subject = subject
    self.offset = offset
    self.count = count
    self.reason = reason
  }

  /// The number for C callers and the wire: EINVAL for an access that was never made, else EIO.
  public var errno: Errno {
    switch reason {
    case .outOfBounds, .misaligned, .readOnly: .invalidArgument
    case .noAnswer, .notZero: .ioError
    }
  }
}

extension DeviceFault {
  /// Whether what should have been zero read as all-ones, as a device does that is gone, or is
  /// being reset.
  package var isAllOnes: Bool {
    guard case .notZero(_, let found) = reason else { return false }
    return found == .max
  }
}

extension DeviceFault: CustomStringConvertible {
  public var description: String { "\(operation) \(access): \(cause)" }

  /// `4 bytes at 0x1c of BAR 0 of 0000:01:00.0`.
  fileprivate var access: String { "\(count) at \(hexadecimal(offset)) of \(subject)" }

  fileprivate var cause: String {
    switch reason {
    case .outOfBounds(let size):
      "out of bounds (the memory is \(size) long)"
    case .misaligned:
      "misaligned (a register access is a multiple of its width)"
    case .readOnly:
      "the memory is mapped to be read only"
    case .noAnswer(let offset):
      "no answer at \(hexadecimal(offset)) (the device is gone, its memory is switched off, "
        + "a driver has taken it, or the file is shorter than its mapping)"
    case .notZero(let offset, let found):
      "not zero at \(hexadecimal(offset)): 0x"
        + GenPool.hexadecimal(found, digits: 16)
        + " (somebody still writes, or the device ignores writes; all ones: the device is gone)"
    }
  }

  private func hexadecimal(_ offset: ByteCount) -> String {
    "0x" + GenPool.hexadecimal(offset.rawValue, digits: 1)
  }
}

extension SystemError {
  /// The same, as a failure of the system's.
  package init(_ fault: DeviceFault) {
    self.init(
      operation: fault.operation, subject: fault.access, errno: fault.errno, cause: fault.cause)
  }
}
