/// How far the kernel protects itself from root: `/sys/kernel/security/lockdown`.
public enum Lockdown: String, Hashable, Sendable, CaseIterable {
  /// Not at all.
  case none
  /// Nothing may change the running kernel: BARs cannot be mapped, `config` cannot be written.
  case integrity
  /// Nor may anything read its secrets.
  case confidentiality

  /// Reads the state; ``none`` when the file is not there (an old kernel, or no securityfs mounted).
  init(under root: SysfsRoot) throws(DeviceError) {
    let node = root["kernel/security/lockdown"]
    guard try node.exists() else {
      self = .none
      return
    }
    self = try Lockdown(node.attribute())
  }

  /// The state in `text`: the kernel lists all and brackets the one in force, as in
  /// `none [integrity] confidentiality`.
  package init(_ text: AttributeText) throws(DeviceError) {
    self = try text.value("a list of lockdown states with one in brackets") { line in
      let words = line.split(separator: " ")
      return Self.allCases.first { words.contains("[\($0.rawValue)]") }
    }
  }
}
