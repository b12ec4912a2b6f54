import BrokerProtocol
public import DeviceMemory
import GenPool
public import PCIDevices

/// The memory that is to be opened.
public struct AttachRequest: Hashable, Sendable {
  /// Its name. Never a device's registers.
  public var memory: DeviceMemoryID
  /// Rules of the attach policy that need not hold this once.
  public var allow: [String]
  /// Whether a search chose the device, which then was not named by its address.
  public var isSearched: Bool
  /// The interface that opens it.
  public var source: MemorySource
  /// Whether contents that were meant to last may be lost.
  public var mayErase: Bool

  public init(
    _ memory: DeviceMemoryID, allow: [String] = [], isSearched: Bool = false,
    source: MemorySource = .sysfs, mayErase: Bool = false
  ) {
    self.memory = memory
    self.allow = allow
    self.isSearched = isSearched
    self.source = source
    self.mayErase = mayErase
  }
}

extension AttachRequest {
  /// The memory that the parameters of an Attach name.
  /// - Throws: InvalidParameter for a name, a part or a source that there is not.
  init(_ parameters: Broker1.Attach.Parameters, isSearched: Bool) throws(BrokerError) {
    self.init(
      try parameters.id(), allow: parameters.allow ?? [], isSearched: isSearched,
      source: try parameters.checkedSource() ?? .sysfs, mayErase: parameters.erase == true)
  }
}

extension Broker1.Attach.Parameters {
  /// The granule of the pool, a page unless it is given.
  /// - Throws: InvalidParameter for one that is no power of two, or less than a page.
  func checkedGranule() throws(BrokerError) -> GranuleSize {
    let size = granule ?? .page
    guard let granule = GranuleSize(size), size >= .page else { throw .invalid("granule") }
    return granule
  }

  /// The pool's name: ADDRESS/PART unless it is given.
  func poolName(of request: AttachRequest) -> String {
    name ?? "\(request.memory.device)/\(request.memory.part)"
  }

  /// Names stand in tables, logs and command lines.
  /// - Throws: InvalidParameter for a name that is empty, longer than 64 or not plain ASCII.
  func checkName() throws(BrokerError) {
    guard let name else { return }
    let isPlain = name.unicodeScalars.allSatisfy { ("!"..."~").contains($0) }
    guard isPlain, (1...64).contains(name.unicodeScalars.count) else { throw .invalid("name") }
  }

  fileprivate func checkedSource() throws(BrokerError) -> MemorySource? {
    guard let source else { return nil }
    guard let known = MemorySource(rawValue: source) else { throw .invalid("source") }
    return known
  }
}
