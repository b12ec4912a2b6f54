import GenPool

/// A condition that a device must meet before its memory is opened.
///
/// The rules are a table for each way of opening it (``sysfs``, ``vfio``), so that what is refused
/// can be read in one place, listed by a program, and tested one by one. All of them are asked: who
/// mends one cause should not then meet the next.
public struct AttachRule: Sendable {
  /// A stable name, for `allow=NAME`, logs and the wire.
  public let name: String
  /// Whether a request may break the rule by naming it.
  public let canBeAllowed: Bool
  /// Why the subject breaks the rule, nil when it keeps it.
  private let violation: @Sendable (Subject) -> String?
  /// What would help.
  private let cure: @Sendable (Subject) -> String

  package init(
    _ name: String, canBeAllowed: Bool = false,
    violation: @escaping @Sendable (Subject) -> String?,
    cure: @escaping @Sendable (Subject) -> String
  ) {
    self.name = name
    self.canBeAllowed = canBeAllowed
    self.violation = violation
    self.cure = cure
  }

  /// What the rules look at: a request, and the device as it is now.
  public struct Subject: Sendable {
    public var request: BARRequest
    public let device: Device
    public let lockdown: Lockdown
    /// The uses that show of the device and of its IOMMU group's members, by address. For causes
    /// and cures only: a device without any may be in use all the same.
    let uses: [PCIAddress: [DeviceUse]]
    /// The places of all devices' BARs.
    private let places: [BARPlace]

    package init(request: BARRequest, device: Device, lockdown: Lockdown) {
      self.init(request, device, lockdown, uses: [:], places: [])
    }

    init(
      _ request: BARRequest, _ device: Device, _ lockdown: Lockdown,
      uses: [PCIAddress: [DeviceUse]], places: [BARPlace]
    ) {
      self.request = request
      self.device = device
      self.lockdown = lockdown
      self.uses = uses
      self.places = places
    }

    /// A request for `device`, with all that `tree` shows of it now. Reads a file of every device.
    public init(
      _ request: BARRequest, of device: Device, in tree: DeviceTree
    ) throws(DeviceError) {
      self.init(
        request, device, try tree.lockdown(), uses: Self.uses(of: device, under: tree.root),
        places: try tree.places())
    }

    /// The BAR asked for, nil when the device does not implement it.
    var bar: BAR? { device.bar(request.bar) }

    /// The BAR asked for when it decodes memory, what most rules are about.
    var memoryBAR: BAR? { bar.flatMap { $0.kind == .memory ? $0 : nil } }

    /// The part of the BAR that is asked for, in bytes from its start; nil when there is none.
    var part: Range<UInt64>? {
      guard let bar = memoryBAR, request.offset < bar.size else { return nil }
      let size = min(request.size ?? bar.size, bar.size - request.offset)
      return request.offset.rawValue..<(request.offset + size).rawValue
    }

    /// The blocks of registers that share a page with what is asked for.
    var registersInTheWay: [RegisterBlock] {
      // All of an NVMe controller's BAR 0 is registers already, when it is asked for by number.
      guard let part, request.contents != .registers, !isControllerRegisters else { return [] }
      return (device.registers ?? []).filter { $0.bar == request.bar && $0.sharesPage(with: part) }
    }

    /// The other BARs and expansion ROMs, of any device, that lie at addresses of the one asked
    /// for.
    var overlapping: [BARPlace] {
      guard let range = memoryBAR?.physical else { return [] }
      return places.filter { place in
        place.range.overlaps(range)
          && !(place.device == device.address.description && place.row == request.bar.rawValue)
      }
    }

    /// Whether an NVMe controller's registers are asked for as memory. By number all of BAR 0
    /// counts as registers; memory that they announce lies there as well on some controllers,
    /// behind them.
    var isControllerRegisters: Bool {
      guard device.classCode.hasNVMeRegisters, let bar = memoryBAR, bar.index == 0,
        bar.physical != nil
      else { return false }
      return switch request.contents {
      case .memory: true
      case .announcedMemory: request.offset < AttachRule.nvmeRegisters
      case .registers: false
      }
    }
  }

  /// A rule that said no.
  public struct Refusal: Hashable, Sendable, CustomStringConvertible {
    /// The rule's name.
    public let rule: String
    /// What was asked for: `BAR 2 of 0000:01:00.0`.
    public let subject: String
    /// Why it said no.
    public let cause: String
    /// What would help.
    public let cure: String

    package init(rule: String, subject: String, cause: String, cure: String) {
      self.rule = rule
      self.subject = subject
      self.cause = cause
      self.cure = cure
    }

    public var description: String { "\(cause) [\(rule)]; \(cure)" }
  }

  /// The name of the first rule of `rules` that refuses; nil when the device may be opened. Costs
  /// less than ``refusals(of:under:)``, as no cure is made.
  package static func firstRefusing(_ subject: Subject, under rules: [AttachRule]) -> String? {
    rules.first { rule in
      !(rule.canBeAllowed && subject.request.allowed.contains(rule.name))
        && rule.violation(subject) != nil
    }?.name
  }

  /// Every rule of `rules` that refuses, in the table's order; empty when the device may be opened.
  public static func refusals(
    of subject: Subject, under rules: [AttachRule] = AttachRule.sysfs
  ) -> [Refusal] {
    rules.compactMap { rule in
      guard let cause = rule.violation(subject) else { return nil }
      guard !(rule.canBeAllowed && subject.request.allowed.contains(rule.name)) else { return nil }
      let allow = rule.canBeAllowed ? ", or say allow=\(rule.name)" : ""
      return Refusal(
        rule: rule.name, subject: subject.request.description, cause: cause,
        cure: rule.cure(subject) + allow)
    }
  }
}
