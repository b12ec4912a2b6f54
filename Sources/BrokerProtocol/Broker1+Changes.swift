// The methods that change who holds what.

public import GenPool
public import PCIDevices

extension Broker1 {
  /// Leases memory. The reply carries one file descriptor.
  public enum Acquire: VarlinkMethod {
    public static let name = interface + ".Acquire"

    public struct Parameters: VarlinkParameters {
      /// Nil for the first pool that can.
      public var pool: String?
      /// Rounded up to the pool's granule.
      public var bytes: ByteCount
      /// A power of two, of the physical and the bus address. With ``FitName/first`` only.
      public var alignment: ByteCount?
      /// Nil for ``FitName/first``.
      public var fit: FitName?
      /// From the pool's start. With ``FitName/fixed`` only.
      public var offset: ByteCount?
      /// Asking again with the key of a lease that this session still has gives that lease again.
      public var requestKey: String?
      /// How long to wait until memory comes free. Nil for as long as memory is being scrubbed that
      /// would do.
      public var wait: Milliseconds?
      /// For people, in lists and events: 1 to 64 printable ASCII characters. Nil for the session's
      /// name.
      public var label: String?

      public enum CodingKeys: CodingKey, CaseIterable {
        case pool, bytes, alignment, fit, offset, requestKey, wait, label
      }

      public init(
        pool: String? = nil, bytes: ByteCount, alignment: ByteCount? = nil, fit: FitName? = nil,
        offset: ByteCount? = nil, requestKey: String? = nil, wait: Milliseconds? = nil,
        label: String? = nil
      ) {
        self.pool = pool
        self.bytes = bytes
        self.alignment = alignment
        self.fit = fit
        self.offset = offset
        self.requestKey = requestKey
        self.wait = wait
        self.label = label
      }
    }

    public struct Reply: Codable, Sendable, Equatable {
      public var lease: Lease
      /// The index of the lease's descriptor among those sent with this reply.
      public var descriptor: Int

      public init(lease: Lease, descriptor: Int) {
        self.lease = lease
        self.descriptor = descriptor
      }
    }
  }

  /// Ends a lease of this session.
  public enum Release: VarlinkMethod {
    public static let name = interface + ".Release"
    public typealias Reply = EmptyReply

    public struct Parameters: VarlinkParameters {
      public var lease: LeaseID
      public var generation: Generation

      public enum CodingKeys: CodingKey, CaseIterable { case lease, generation }

      public init(lease: LeaseID, generation: Generation) {
        self.lease = lease
        self.generation = generation
      }
    }
  }

  /// Makes a pool of a BAR or a part of it. For admins. Erases it.
  public enum Attach: VarlinkMethod {
    public static let name = interface + ".Attach"

    public struct Parameters: VarlinkParameters {
      /// `0000:01:00.0`.
      public var device: String
      /// Nil when ``memory`` says what it is.
      public var bar: Int?
      /// `cmb` or `pmr`, an NVMe controller's own memory, wherever its registers say that it is.
      public var memory: String?
      /// Whether what was meant to last may be lost. A persistent memory region needs it.
      public var erase: Bool?
      /// Nil for its start.
      public var offset: ByteCount?
      /// Nil for all from the offset on.
      public var size: ByteCount?
      /// A power of two, at least a page. Nil for a page.
      public var granule: ByteCount?
      /// Nil for `ADDRESS/BAR`.
      public var name: String?
      /// Rules of the attach policy that need not hold this once.
      public var allow: [String]?
      /// As `DeviceMemory.MemorySource` names it. Nil for `sysfs`.
      public var source: String?
      /// Whether to attach although an earlier run of the broker lent memory of it, and the kernel
      /// cannot tell whether a process still maps it.
      public var force: Bool?
      /// The users and groups that may lease of it, beside root and admins. Nil for every client.
      public var access: Access?

      public enum CodingKeys: CodingKey, CaseIterable {
        case device, bar, memory, erase, offset, size, granule, name, allow, source, force
        case access
      }

      public init(
        device: String, bar: Int? = nil, memory: String? = nil, erase: Bool? = nil,
        offset: ByteCount? = nil, size: ByteCount? = nil, granule: ByteCount? = nil,
        name: String? = nil, allow: [String]? = nil, source: String? = nil,
        access: Access? = nil
      ) {
        self.device = device
        self.bar = bar
        self.memory = memory
        self.erase = erase
        self.offset = offset
        self.size = size
        self.granule = granule
        self.name = name
        self.allow = allow
        self.source = source
        self.access = access
      }

      /// Attaches the memory that `id` names.
      public init(
        _ id: DeviceMemoryID, erase: Bool? = nil, granule: ByteCount? = nil, name: String? = nil,
        allow: [String]? = nil, source: String? = nil
      ) {
        self.init(
          device: "\(id.device)", erase: erase, offset: id.offset == .zero ? nil : id.offset,
          size: id.size, granule: granule, name: name, allow: allow, source: source)
        if case .bar(let index) = id.part {
          bar = index.rawValue
        } else {
          memory = "\(id.part)"
        }
      }

      /// The name of the memory that is to be attached.
      /// - Throws: ``BrokerError/invalidParameter(parameter:)``, also for registers, which are no
      ///   memory.
      public func id() throws(BrokerError) -> DeviceMemoryID {
        let part: DeviceMemoryID.Part
        if let bar {
          guard memory == nil else { throw .invalid("memory") }
          guard let index = PCIDevices.BAR.Index(bar) else { throw .invalid("bar") }
          part = .bar(index)
        } else {
          guard let memory else { throw .invalid("bar") }
          guard let known = DeviceMemoryID.Part(memory), known != .registers else {
            throw .invalid("memory")
          }
          part = known
        }
        guard let address = PCIAddress(device) else { throw .invalid("device") }
        return DeviceMemoryID(device: address, part: part, offset: offset ?? .zero, size: size)
      }
    }

    public struct Reply: Codable, Sendable, Equatable {
      public var pool: Pool

      public init(pool: Pool) {
        self.pool = pool
      }
    }
  }

  /// Keeps a pool from leasing more, or lets it lease again. For admins.
  public enum DrainPool: VarlinkMethod {
    public static let name = interface + ".DrainPool"

    public struct Parameters: VarlinkParameters {
      public var pool: String
      /// Whether it leases again.
      public var undo: Bool?

      public enum CodingKeys: CodingKey, CaseIterable { case pool, undo }

      public init(pool: String, undo: Bool? = nil) {
        self.pool = pool
        self.undo = undo
      }
    }

    public struct Reply: Codable, Sendable, Equatable {
      /// The pool afterwards.
      public var pool: Pool

      public init(pool: Pool) {
        self.pool = pool
      }
    }
  }

  /// Gives a pool's BAR back. For admins.
  public enum Detach: VarlinkMethod {
    public static let name = interface + ".Detach"

    public struct Reply: Codable, Sendable, Equatable {
      /// Processes of this user may still reach the memory, and the kernel cannot tell. Nil when
      /// nothing reaches it.
      public var unseenUid: UID?
      /// The pool's `DeviceMemory.Witness`, where ``unseenUid`` is not nil.
      public var witness: String?

      public init(unseenUid: UID? = nil, witness: String? = nil) {
        self.unseenUid = unseenUid
        self.witness = witness
      }
    }

    public struct Parameters: VarlinkParameters {
      public var pool: String

      public enum CodingKeys: CodingKey, CaseIterable { case pool }

      public init(pool: String) {
        self.pool = pool
      }
    }
  }
}
