import ArgumentParser
import BrokerProtocol
import GenPoolClient

/// What names a lease on the command line: the first of its hexadecimal digits, as tables show them, or all.
struct LeasePrefix {
  /// 4 to 32 digits, in lower case.
  let digits: String

  /// How many digits a lease has.
  private static let whole = 32

  /// Reads digits, or says what is wrong with them as ArgumentParser wants to hear it.
  @Sendable
  static func parse(_ text: String) throws -> Self {
    let digits = text.lowercased()
    guard (4...whole).contains(digits.utf8.count), digits.utf8.allSatisfy(isHexadecimal) else {
      throw ValidationError(
        "\(text): a lease is 4 to \(whole) of its digits, as lease list shows it.")
    }
    return Self(digits: digits)
  }

  private static func isHexadecimal(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
      || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
  }

  /// The one lease that begins so. Whole identities are not looked up.
  func lease(over connection: Connection) throws -> LeaseID {
    let given = LeaseID(rawValue: digits)
    guard digits.utf8.count < Self.whole else { return given }
    return try choose(among: connection.leases().map(\.lease))
  }

  /// The one of `leases` that begins so.
  func choose(among leases: [LeaseID]) throws(Failure) -> LeaseID {
    let found = leases.filter { $0.rawValue.hasPrefix(digits) }
    guard let lease = found.first else {
      throw Failure(
        "find lease \(digits): it has ended, or never was, or is somebody else's "
          + "(`genpoolctl lease list`)")
    }
    guard found.count == 1 else {
      throw Failure(
        "find lease \(digits): \(found.count) begin so, "
          + found.map(\.rawValue).joined(separator: ", ") + "; give more digits")
    }
    return lease
  }
}
