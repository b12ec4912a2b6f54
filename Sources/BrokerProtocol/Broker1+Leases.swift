public import GenPool

extension Broker1 {
  /// Memory in a client's hands. The interface's `Lease`.
  public struct Lease: Codable, Sendable, Equatable {
    public var lease: LeaseID
    public var generation: Generation
    /// The pool's name.
    public var pool: String
    /// From the pool's start.
    public var offset: ByteCount
    public var size: ByteCount
    public var physical: PhysicalAddress?
    public var bus: BusAddress?
    /// Where to mmap the descriptor.
    public var mapOffset: ByteCount
    /// As `DeviceMemory.Caching` names it.
    public var caching: String
    /// As `DeviceMemory.Isolation` names it.
    public var isolation: String
    public var uid: UID
    public var pid: PID
    public var state: LeaseState
    /// The holder's word for it, for people; it identifies nothing. Nil without one.
    public var label: String?

    public init(
      lease: LeaseID, generation: Generation, pool: String, offset: ByteCount, size: ByteCount,
      physical: PhysicalAddress?, bus: BusAddress?, mapOffset: ByteCount, caching: String,
      isolation: String, uid: UID, pid: PID, state: LeaseState, label: String? = nil
    ) {
      self.lease = lease
      self.generation = generation
      self.pool = pool
      self.offset = offset
      self.size = size
      self.physical = physical
      self.bus = bus
      self.mapOffset = mapOffset
      self.caching = caching
      self.isolation = isolation
      self.uid = uid
      self.pid = pid
      self.state = state
      self.label = label
    }
  }
}

extension Broker1.Lease {
  /// The longest label, in bytes.
  package static let labelLimit = 64

  /// Whether `text` can be a label: terminals and logs show it, so it is printable ASCII.
  package static func isLabel(_ text: String) -> Bool {
    (1...labelLimit).contains(text.utf8.count)
      && text.utf8.allSatisfy { (UInt8(ascii: " ")...UInt8(ascii: "~")).contains($0) }
  }
}
