import GenPool
import OptionText
import PCIDevices

extension Broker1.Attach.Parameters {
  /// What `text` says to attach, as people write it on command lines:
  /// `BDF:BAR[,offset=N][,size=N][,granule=N][,name=S][,allow=RULE[+RULE…]][,source=S]
  /// [,access=user:NAME[+group:NAME…]]`, such as `0000:01:00.0:2,size=32M,name=cmb`. In the BAR's place `cmb` and `pmr` are an NVMe controller's own
  /// memory; the latter needs `erase=yes`.
  ///
  /// Whether there is such a device is the broker's to say.
  /// - Throws: the first field that cannot be read.
  public init(specification text: String) throws(InvalidSpecification) {
    do throws(InvalidOptionText) {
      try self.init(OptionText(text))
    } catch {
      throw InvalidSpecification(text: error.text, problem: error.problem)
    }
  }

  /// The text that ``init(specification:)`` reads as this, but for ``force``.
  public var specification: String {
    let part = memory ?? bar.map(String.init) ?? "?"
    let fields: [(String, String?)] = [
      ("offset", offset.flatMap { $0 == .zero ? nil : "\($0.rawValue)" }),
      ("size", size.map { "\($0.rawValue)" }), ("granule", granule.map { "\($0.rawValue)" }),
      ("name", name), ("allow", allow.flatMap { $0.isEmpty ? nil : $0.joined(separator: "+") }),
      ("source", source.flatMap { $0 == "sysfs" ? nil : $0 }),
      ("erase", erase == true ? "yes" : nil),
      ("access", access.flatMap { $0 == .init() ? nil : $0.specification }),
    ]
    return "\(device):\(part)"
      + fields.compactMap { key, value in value.map { ",\(key)=\($0)" } }.joined()
  }

  private init(_ text: OptionText) throws(InvalidOptionText) {
    var options = text
    let id = try DeviceMemoryID(&options)
    guard id.part != .registers else { throw text.problem("registers are no memory for a pool") }
    self.init(id)
    let page = GranuleSize.page.byteCount
    granule = try options.take(
      "granule", else: "is no power of two of at least the page size, \(page)"
    ) { given in
      ByteCount(given).flatMap { $0.isPowerOfTwo && $0 >= page ? $0 : nil }
    }
    name = options.takeText("name")
    allow = try options.take("allow", else: "has a rule without a name") { given in
      let rules = given.split(separator: "+", omittingEmptySubsequences: false)
      return rules.contains("") ? nil : rules.map(String.init)
    }
    for (key, size) in [("offset", offset), ("size", size), ("granule", granule)] {
      guard let size, !size.isOnWire else { continue }
      throw text.problem("\(key)=\(size.rawValue) is more than \(Int64.max) bytes")
    }
    source = options.takeText("source")
    erase = try options.takeChoice("erase", ["yes": true])
    access = try options.take(
      "access",
      else:
        "is not like user:alice+group:nvme (names or numbers, \(Broker1.Access.limit) of each at most)",
      Broker1.Access.init(specification:))
    try options.finish()
  }
}

extension Broker1.Access {
  /// The users and groups that `text` names: `user:alice+group:nvme`; nil when it cannot be read. A
  /// name that has a plus sign is written as its number.
  public init?(specification text: String) {
    self.init()
    for member in text.split(separator: "+", omittingEmptySubsequences: false) {
      let parts = member.split(separator: ":", maxSplits: 1).map(String.init)
      guard parts.count == 2 else { return nil }
      switch parts[0] {
      case "user": users.append(parts[1])
      case "group": groups.append(parts[1])
      default: return nil
      }
    }
    guard max(users.count, groups.count) <= Self.limit else { return nil }
  }

  /// The text that ``init(specification:)`` reads as this.
  public var specification: String {
    (users.map { "user:\($0)" } + groups.map { "group:\($0)" }).joined(separator: "+")
  }
}

/// A specification of a piece of a BAR that cannot be read.
public struct InvalidSpecification: Error, Equatable, CustomStringConvertible {
  /// The whole text.
  public let text: String
  /// What is wrong with it.
  public let problem: String

  public var description: String { "attach \(text): \(problem)" }
}
