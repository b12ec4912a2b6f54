import Glibc

/// What VFIO answers with: a fixed part, and behind it a chain of capabilities, each with the offset of
/// the next. `struct vfio_info_cap_header` and its users in the kernel's `linux/vfio.h`; that the offsets
/// here are theirs is asserted in gs_vfio.c.
///
/// Read with suspicion, for a length that is believed is a length that is read past: everything that
/// points out of the record or backwards is an error.
package struct VFIORecord: Sendable {
  /// All of it, in the host's byte order.
  private let bytes: [UInt8]

  package init(_ bytes: [UInt8]) {
    self.bytes = bytes
  }

  /// What is wrong with a record.
  package struct Problem: Error, Hashable {
    package let text: String
  }

  /// One link of the chain.
  package struct Capability: Hashable, Sendable {
    /// What it is, by the record's own numbers.
    package let id: UInt16
    /// Where it starts in the record, its header included.
    package let offset: Int
  }

  /// The 32-bit number at `offset`.
  package func word(at offset: Int) throws(Problem) -> UInt32 {
    UInt32(truncatingIfNeeded: try number(at: offset, length: 4))
  }

  /// The 64-bit number at `offset`.
  package func doubleWord(at offset: Int) throws(Problem) -> UInt64 {
    try number(at: offset, length: 8)
  }

  private func number(at offset: Int, length: Int) throws(Problem) -> UInt64 {
    guard offset >= 0, offset <= bytes.count - length else {
      throw Problem(text: "\(length) bytes at \(offset) are past its end, at \(bytes.count)")
    }
    let host = bytes[offset..<offset + length]
    return (UInt16(1).littleEndian == 1 ? Array(host.reversed()) : Array(host))
      .reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// The chain that starts at `first`; 0 is no chain. Offsets only ever grow, so it ends.
  package func capabilities(from first: UInt32) throws(Problem) -> [Capability] {
    var found: [Capability] = []
    var next = Int(first)
    while next != 0 {
      if let last = found.last, next < last.offset + 8 {
        throw Problem(text: "the capability at \(last.offset) leads back to \(next)")
      }
      let header = try word(at: next)
      found.append(Capability(id: UInt16(truncatingIfNeeded: header), offset: next))
      next = Int(try word(at: next + 4))
    }
    return found
  }

  /// The pairs of 64-bit numbers of a capability that counts them at 8 and has them from 16 on.
  package func pairs(
    of capability: Capability
  ) throws(Problem) -> [(first: UInt64, second: UInt64)] {
    let count = Int(try word(at: capability.offset + 8))
    guard count <= max(0, bytes.count - capability.offset - 16) / 16 else {
      throw Problem(text: "the capability at \(capability.offset) has no room for \(count) entries")
    }
    var pairs: [(first: UInt64, second: UInt64)] = []
    for index in 0..<count {
      let place = capability.offset + 16 + 16 * index
      pairs.append((try doubleWord(at: place), try doubleWord(at: place + 8)))
    }
    return pairs
  }
}

extension VFIORecord {
  /// All of a record that `ask` writes: it is given room, and says how much there is. Asked again with
  /// more room as long as there is more; a kernel that never has enough is not believed.
  /// - Returns: nil with the negated errno that `ask` answered.
  static func read(
    _ ask: (inout [UInt8]) -> CInt
  ) -> (record: VFIORecord?, result: CInt) {
    var bytes = [UInt8](repeating: 0, count: 256)
    for _ in 0..<4 {
      let result = ask(&bytes)
      guard result >= 0 else { return (nil, result) }
      guard Int(result) > bytes.count else { return (VFIORecord(bytes), 0) }
      guard result <= 1 << 20 else { break }
      bytes = [UInt8](repeating: 0, count: Int(result))
    }
    return (nil, -EOVERFLOW)
  }
}
