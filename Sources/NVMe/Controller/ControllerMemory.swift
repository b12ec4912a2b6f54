public import DeviceDMA
public import GenPool
public import PCIDevices

/// Memory of an NVMe controller: where it lies, how long it is, what the controller can keep in it.
///
/// Lies wholly inside of its BAR: a buffer that is announced longer is clipped, as Linux does
/// (`nvme_map_cmb`), one that starts past the end does not exist.
public struct ControllerMemory: Hashable, Sendable {
  /// What it is.
  public let kind: Kind
  /// The BAR that it is in.
  public let bar: BAR.Index
  /// Where it starts, in bytes from the BAR's start.
  public private(set) var offset: ByteCount
  /// How long it is, in bytes: never 0.
  public private(set) var size: ByteCount
  /// How long the registers say it is.
  public let announced: ByteCount
  /// What the controller itself can keep in it.
  public let uses: MemoryUses
  /// How freely the controller lets queues, lists and data be placed; of a buffer only.
  public let rules: CMBLocation.Rules

  /// The two kinds of memory that a controller has.
  public enum Kind: String, Hashable, Sendable, CaseIterable {
    /// Ordinary memory, for queues, lists and data (CMB).
    case buffer = "cmb"
    /// Memory that keeps its contents without power (PMR).
    case persistentRegion = "pmr"

    /// What errors call it.
    public var words: String {
      switch self {
      case .buffer: "controller memory buffer"
      case .persistentRegion: "persistent memory region"
      }
    }
  }

  /// The buffer that CMBLOC and CMBSZ tell of, in a device with `bars`.
  /// - Throws: when there is none, or none that can be reached.
  public init(
    bufferLocation: UInt32, bufferSize: UInt32, in bars: [BAR]
  ) throws(ControllerMemoryError) {
    guard bufferSize.bits(31, 12) > 0 else { throw .absent(.buffer) }
    let location: CMBLocation
    let length: CMBSize
    do throws(RegisterProblem) {
      length = try CMBSize(rawValue: bufferSize)
      location = try CMBLocation(rawValue: bufferLocation)
    } catch {
      throw .register(error)
    }
    let bar = try Self.bar(location.bar, of: bars, for: .buffer)
    // Both factors are bounded: below 2^56.
    let offset = length.unit * UInt64(location.offset)
    guard offset < bar.size else {
      throw .outside(.buffer, offset: offset, bar: bar.index, size: bar.size)
    }
    kind = .buffer
    self.bar = bar.index
    self.offset = offset
    size = min(length.size, bar.size - offset)
    announced = length.size
    uses = length.uses
    rules = location.rules
  }

  /// The region that PMRCAP tells of, in a device with `bars`: all of its BAR.
  /// - Throws: when it cannot be reached.
  public init(regionCapabilities: UInt32, in bars: [BAR]) throws(ControllerMemoryError) {
    let capabilities: PMRCapabilities
    do throws(RegisterProblem) {
      capabilities = try PMRCapabilities(rawValue: regionCapabilities)
    } catch {
      throw .register(error)
    }
    let bar = try Self.bar(capabilities.bar, of: bars, for: .persistentRegion)
    kind = .persistentRegion
    self.bar = bar.index
    offset = .zero
    size = bar.size
    announced = bar.size
    uses = capabilities.uses
    rules = []
  }

  private static func bar(
    _ index: BAR.Index, of bars: [BAR], for kind: Kind
  ) throws(ControllerMemoryError) -> BAR {
    guard let bar = bars.first(where: { $0.index == index }), bar.kind == .memory,
      bar.size > .zero
    else { throw .noBAR(kind, index) }
    return bar
  }

  /// The part from `offset` on, `size` or the rest of it; nil where that is nothing, or reaches
  /// past the end.
  func part(offset part: ByteCount, size: ByteCount?) -> ControllerMemory? {
    guard part < self.size, size ?? 1 > .zero, size ?? .zero <= self.size - part else { return nil }
    var copy = self
    copy.offset = offset + part
    copy.size = size ?? self.size - part
    return copy
  }

  /// The piece of `bar`, which must be ``bar``, in physical and bus addresses; nil where the BAR
  /// has none.
  public func physical(in bar: BAR) -> PhysicalAddress? { bar.physical.map { $0.first + offset } }
  /// Where other devices find it; nil where the BAR does not tell.
  public func bus(in bar: BAR) -> BusAddress? { bar.bus.map { $0 + offset } }
}

/// Why a controller's memory cannot be had.
public enum ControllerMemoryError: Error, Hashable, Sendable {
  /// The controller has none.
  case absent(ControllerMemory.Kind)
  /// A register says what it cannot.
  case register(RegisterProblem)
  /// The registers name a BAR that the device does not implement as memory.
  case noBAR(ControllerMemory.Kind, BAR.Index)
  /// It starts past the end of its BAR.
  case outside(ControllerMemory.Kind, offset: ByteCount, bar: BAR.Index, size: ByteCount)
}

extension ControllerMemoryError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .absent(let kind): "the controller has no \(kind.words)"
    case .register(let problem): problem.description
    case .noBAR(let kind, let bar):
      "its \(kind.words) should be in BAR \(bar), which is no memory of the device"
    case .outside(let kind, let offset, let bar, let size):
      "its \(kind.words) should start at \(offset) of BAR \(bar), which ends at \(size)"
    }
  }
}

extension DeviceError {
  /// That the memory of the controller at `address` cannot be had.
  init(_ error: ControllerMemoryError, of address: PCIAddress) {
    self =
      if case .absent(let kind) = error {
        .absent(address, memory: kind.words)
      } else {
        .contradiction(address, operation: "open the memory", problem: error.description)
      }
  }
}
