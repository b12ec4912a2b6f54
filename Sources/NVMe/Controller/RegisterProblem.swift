import GenPool

/// A register of an NVMe controller that holds what the specification does not allow.
public struct RegisterProblem: Error, Hashable, Sendable, CustomStringConvertible {
  /// Its name in the specification: `CMBSZ`.
  public let register: String
  /// What it holds.
  public let value: UInt64
  /// What is wrong with that.
  public let problem: String

  init(_ register: String, _ value: some FixedWidthInteger & UnsignedInteger, _ problem: String) {
    self.register = register
    self.value = UInt64(value)
    self.problem = problem
  }

  /// `CMBSZ 0x00000700: …`.
  public var description: String {
    "\(register) 0x\(hexadecimal(value, digits: 8)): \(problem)"
  }
}

extension FixedWidthInteger where Self: UnsignedInteger {
  /// The bits `range`, both ends included, moved down: as the specification writes fields, `31:12`.
  func bits(_ high: Int, _ low: Int) -> Self {
    (self >> Self(low)) & (Self.max >> Self(Self.bitWidth - 1 - (high - low)))
  }

  /// Whether bit `index` is set.
  func bit(_ index: Int) -> Bool { self >> Self(index) & 1 == 1 }
}
