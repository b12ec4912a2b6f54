public import GenPool

/// What someone wants to open: a BAR of a device or a part of it, and what they said about it.
public struct BARRequest: Hashable, Sendable {
  /// The device.
  public var device: PCIAddress
  /// Its BAR.
  public var bar: BAR.Index
  /// Where the part starts, in bytes from the BAR's start; a multiple of the page size.
  public var offset: ByteCount
  /// How long it is, in bytes, a multiple of the page size; nil for the rest of the BAR.
  public var size: ByteCount?
  /// How the device was chosen.
  public var naming: Naming
  /// The names of rules that may be broken this once: those that ``AttachRule/canBeAllowed``.
  public var allowed: Set<String>
  /// The vendor and device ids, typed again by someone who wants the device although a driver is
  /// bound to it.
  public var forced: DeviceIdentity?

  /// What is in it.
  public var contents: Contents

  /// What a BAR holds, as far as mapping goes.
  public enum Contents: Hashable, Sendable {
    /// Bytes: mapped write-combining where that is possible.
    case memory
    /// Memory that the device's own registers announce, as an NVMe controller's do in CMBLOC and
    /// PMRCAP: mapped like ``memory``. The BAR need not be prefetchable, and may hold the registers
    /// besides.
    case announcedMemory
    /// Registers: mapped uncached, so that every access reaches the device as it was made. They
    /// need not be prefetchable.
    case registers
  }

  /// How a request came by its device.
  public enum Naming: Hashable, Sendable {
    /// Someone gave its address.
    case byAddress
    /// A search chose it, by class or ids for example.
    case bySearch
  }

  public init(
    device: PCIAddress, bar: BAR.Index, offset: ByteCount = .zero, size: ByteCount? = nil,
    naming: Naming = .byAddress, allowed: Set<String> = [], forced: DeviceIdentity? = nil,
    contents: Contents = .memory
  ) {
    self.device = device
    self.bar = bar
    self.offset = offset
    self.size = size
    self.naming = naming
    self.allowed = allowed
    self.forced = forced
    self.contents = contents
  }
}

extension BARRequest: CustomStringConvertible {
  /// `BAR 2 of 0000:01:00.0`, as errors call it.
  public var description: String { "BAR \(bar) of \(device)" }
}
