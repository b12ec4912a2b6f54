import DeviceMemory
import GenPool
import LinuxSystem
import SystemPackage

/// Memory that was handed out, and that a process may still reach although no kernel interface can
/// tell.
///
/// Needed only where the witness cannot answer at any time (``Witness``): what is outstanding there
/// decides who may have the memory next, in this run of the broker and in later ones.
struct OutstandingMemory: Codable, Hashable {
  /// The end of the broker's hold on the memory, as far as is known.
  enum State: String, Codable {
    /// None, or one with a process alive that was lent memory: nothing accounts for the holders.
    case held
    /// In order: every process that was lent memory had died. What they passed on may live.
    case ended
  }

  /// The name in errors: `BAR 2 of 0000:01:00.0`.
  var label: String
  /// The memory that its descriptors reach.
  var reach: Reach
  /// By what it was opened, as ``MemorySource`` names it.
  var source: String?
  /// The users whose processes it was lent to, in order.
  var users: [UInt32]
  var state: State
  /// The boot of the machine that it is of: a later one has none of its processes. Nil where that
  /// could not be read (a private /proc).
  var boot: String?

  /// The memory that a descriptor reaches, recognisable in another run.
  enum Reach: Codable, Hashable {
    /// A file of an emulated tree.
    case file(device: UInt64, inode: UInt64, born: Int64)
    /// A device of the machine: one BAR of it, or with nil all of it; and the physical addresses,
    /// which another device may have by then.
    case device(address: String, bar: Int?, ranges: [Range])

    struct Range: Codable, Hashable {
      var first: UInt64
      var last: UInt64
    }

    /// Whether what reaches one may reach the other.
    func overlaps(_ other: Self) -> Bool {
      switch (self, other) {
      case (.file, .file): self == other
      case (.device(_, _, let ranges), .device(_, _, let others)):
        isOfSameMemory(as: other)
          || ranges.contains { range in
            others.contains { $0.first <= range.last && range.first <= $0.last }
          }
      default: false
      }
    }

    /// Whether both are of one BAR of one device, or of a device as a whole.
    func isOfSameMemory(as other: Self) -> Bool {
      guard case .device(let address, let bar, _) = self,
        case .device(let otherAddress, let otherBAR, _) = other
      else { return self == other }
      return address == otherAddress && (bar == nil || otherBAR == nil || bar == otherBAR)
    }
  }

  /// Whether the kernel's answer for `reach`, that no process reaches it through `source`, holds
  /// for this. An answer is of one interface of the kernel, and of the device that is there now.
  func isRefuted(by reach: Reach, _ source: MemorySource?) -> Bool {
    self.source == source?.rawValue && self.reach.isOfSameMemory(as: reach)
  }
}

extension OutstandingMemory.Reach {
  /// The memory that the descriptors of an opened BAR reach.
  init(of open: borrowing OpenBAR) throws(SystemError) {
    let identity: FileIdentity?
    do throws(Errno) {
      identity = try FileIdentity(of: open.range.descriptor)
    } catch {
      throw SystemError(operation: "identify", subject: open.range.label, errno: error)
    }
    if let identity {
      self = .file(device: identity.device, inode: identity.inode, born: identity.born)
      return
    }
    let own = open.range.physical.flatMap { AddressRange(start: $0, size: open.range.size) }
    let ranges = open.reach.isEmpty ? own.map { [$0] } ?? [] : open.reach
    self = .device(
      address: open.device, bar: open.range.source == .vfio ? nil : open.bar,
      ranges: ranges.map { Range(first: $0.first.rawValue, last: $0.last.rawValue) })
  }
}
