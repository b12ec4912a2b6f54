package import GenPool

/// The `resource` file: a row a BAR, `start end flags`, end included, as the CPU sees addresses.
/// The kernel's `resource_show`; flags are those of `include/linux/ioport.h`.
///
/// The rows past the first six are the expansion ROM's, those of SR-IOV where the kernel knows it,
/// and in a bridge's file four of its windows at the end.
package struct ResourceTable: Hashable, Sendable {
  /// One row for each BAR index; nil where none is implemented, or its row makes no sense.
  package let rows: [Row?]
  /// The memory window of a bridge, as the CPU sees it; nil in another device's file.
  package let window: Row?
  /// The prefetchable memory window of a bridge, likewise.
  package let prefetchableWindow: Row?
  /// The faults of rows of BARs.
  package let problems: [DeviceError]
  /// The memory that the device has: its BARs', its expansion ROM's, and that of rows that make no
  /// sense otherwise.
  package let occupied: [Occupied]

  /// Memory that a row of a BAR or of the expansion ROM takes.
  package struct Occupied: Hashable, Sendable {
    /// The row, from 0 on: up to 5 a BAR's, then the ROM's.
    package let row: Int
    package let range: AddressRange<PhysicalSpace>
  }

  /// A row that stands for a BAR.
  package struct Row: Hashable, Sendable {
    package let kind: BAR.Kind
    package let size: ByteCount
    /// Nil for size 0 and while the kernel has found no place for it.
    package let range: AddressRange<PhysicalSpace>?
    package let isPrefetchable: Bool
    package let is64Bit: Bool
    /// Whether Enhanced Allocation says where it is, and not a BAR register.
    package let isEnhancedAllocation: Bool
  }

  /// The table in `text`, what a `resource` file says.
  package init(_ text: AttributeText) throws(DeviceError) {
    let lines = text.lines
    guard lines.count >= BAR.Index.allCases.count else {
      throw text.malformed("it has \(lines.count) lines, not one for each of 6 BARs")
    }
    var problems: [DeviceError] = []
    rows = lines.prefix(BAR.Index.allCases.count).enumerated().map { number, line in
      do throws(RowProblem) {
        return try Self.row(line)
      } catch {
        problems.append(text.malformed(error.text, number + 1))
        return nil
      }
    }
    self.problems = problems
    occupied = lines.prefix(Self.romRow + 1).enumerated().compactMap { number, line in
      Self.memory(of: line).map { Occupied(row: number, range: $0) }
    }
    guard lines.count >= Self.shortestOfBridge else {
      (window, prefetchableWindow) = (nil, nil)
      return
    }
    window = try? Self.row(lines[lines.count - 3])
    prefetchableWindow = try? Self.row(lines[lines.count - 2])
  }

  /// The lines of a bridge's file on a kernel without SR-IOV: BARs, expansion ROM, four windows.
  private static let shortestOfBridge = 11

  /// The expansion ROM's line, from 0 on. Linux: `PCI_ROM_RESOURCE`.
  package static let romRow = 6

  /// The memory that a row takes, as far as it can be told: of one whose flags make no sense the
  /// start and the end do.
  private static func memory(of line: String) -> AddressRange<PhysicalSpace>? {
    let numbers = line.split(separator: " ").prefix(3).map { parseHexadecimal(String($0)) }
    guard numbers.count >= 2, let start = numbers[0], let end = numbers[1], start > 0, start <= end
    else { return nil }
    if numbers.count == 3, let number = numbers[2] {
      let flags = Flags(rawValue: number)
      let isPorts = flags.contains(.io) && !flags.contains(.memory)
      guard !isPorts, flags.isDisjoint(with: [.unset, .disabled]) else { return nil }
    }
    // One that reaches the end of the address space is a byte short here.
    return AddressRange(
      start: PhysicalAddress(start), size: ByteCount(end == .max ? end - start : end - start + 1))
  }

  private struct RowProblem: Error {
    let text: String
  }

  private static func row(_ line: String) throws(RowProblem) -> Row? {
    let fields = line.split(separator: " ", omittingEmptySubsequences: false)
    let numbers = fields.compactMap { parseHexadecimal(String($0)) }
    guard fields.count == 3, numbers.count == 3 else {
      throw RowProblem(text: "\(quoted(line)) is not three hexadecimal numbers")
    }
    let (start, end, flags) = (numbers[0], numbers[1], Flags(rawValue: numbers[2]))
    let isMemory = flags.contains(.memory)
    guard isMemory || flags.contains(.io) else {
      guard start == 0, end == 0 else {
        throw RowProblem(text: "a range that is neither memory nor I/O")
      }
      return nil
    }
    guard !(isMemory && flags.contains(.io)) else {
      throw RowProblem(text: "a range that is both memory and I/O")
    }
    guard start <= end else {
      throw RowProblem(text: "the range ends at \(hex(end)), before its start \(hex(start))")
    }
    // Also keeps the size below 2^64.
    guard end < UInt64.max else {
      throw RowProblem(text: "the range reaches the end of the address space")
    }
    // Like the kernel's pci_resource_len: an end of 0 is no range, not one byte.
    let size = ByteCount(end == 0 ? 0 : end - start + 1)
    let isAssigned = start > 0 && flags.isDisjoint(with: [.unset, .disabled])
    return Row(
      kind: isMemory ? .memory : .io, size: size,
      range: isAssigned ? AddressRange(start: PhysicalAddress(start), size: size) : nil,
      isPrefetchable: flags.contains(.prefetch), is64Bit: flags.contains(.memory64),
      isEnhancedAllocation: flags.contains(.enhancedAllocation))
  }

  private static func hex(_ value: UInt64) -> String { "0x" + hexadecimal(value, digits: 16) }
}

extension ResourceTable {
  /// The kernel's IORESOURCE_ bits.
  package struct Flags: OptionSet, Sendable {
    package let rawValue: UInt64

    package init(rawValue: UInt64) {
      self.rawValue = rawValue
    }

    package static let enhancedAllocation = Self(rawValue: 0x20)
    package static let io = Self(rawValue: 0x100)
    package static let memory = Self(rawValue: 0x200)
    package static let prefetch = Self(rawValue: 0x2000)
    package static let sizeAligned = Self(rawValue: 0x4_0000)
    package static let memory64 = Self(rawValue: 0x10_0000)
    package static let disabled = Self(rawValue: 0x1000_0000)
    package static let unset = Self(rawValue: 0x2000_0000)
  }
}
