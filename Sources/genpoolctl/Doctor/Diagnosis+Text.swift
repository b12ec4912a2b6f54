import PCIDevices

extension Diagnosis {
  /// The diagnosis for people: a line a check, under it what to type, and in the end whether memory
  /// can be leased or mapped. At most ``Table/width`` wide but for what a user might copy.
  var text: String {
    let checks = checks
    let names = checks.map(\.name.count).max() ?? 0
    let states = Check.State.allCases.map(\.rawValue.count).max() ?? 0
    let indent = String(repeating: " ", count: names + states + 4)
    var text = ""
    for check in checks {
      let start =
        check.name.padded(to: names) + "  " + check.state.rawValue.padded(to: states) + "  "
      let lines = check.cause.wrapped(to: Table.width - indent.count).split(separator: "\n")
        .map { $0.drop { $0 == " " } }
      text += start + lines.joined(separator: "\n" + indent) + "\n"
      for detail in check.details { text += "  \(detail)\n" }
      if let cure = check.cure { text += "  -> \(cure)\n" }
    }
    return text + verdict + "\n"
  }

  /// Whether memory can be leased or mapped, in one line, with the command that does.
  var verdict: String {
    if canLease { return "memory can be leased: genpoolctl lease acquire --size 1M" }
    if canMap, let piece = devices.all.value?.first(where: \.isOpen)?.verdict.specification {
      let isThere = (daemon.answer.value ?? nil) != nil
      return "memory can be mapped: " + (isThere ? "genpoolctl pool attach" : "genpoold --attach")
        + " \(piece)"
    }
    return "no memory can be leased or mapped by this user now; the causes are above"
  }
}

extension String {
  fileprivate func padded(to width: Int) -> String {
    self + String(repeating: " ", count: max(0, width - count))
  }
}

/// A diagnosis as `--json` prints it.
struct DiagnosisDocument: Encodable {
  let canLease: Bool
  let canMap: Bool
  /// The emulated tree; left out for a machine's own `/sys`.
  let tree: String?
  let checks: [Line]
  let devices: [DeviceLine]
  let pools: [String]?

  /// A check.
  struct Line: Encodable {
    let name: String
    /// `works`, `fails` or `unknown`.
    let state: String
    let cause: String
    let cure: String?
  }

  /// A device that has memory.
  struct DeviceLine: Encodable {
    let address: String
    let driver: String?
    let uses: [String]
    let verdict: DeviceVerdict
    /// Whether this process may open it.
    let open: Bool
    let command: String?
  }

  init(_ diagnosis: Diagnosis) {
    canLease = diagnosis.canLease
    canMap = diagnosis.canMap
    tree = diagnosis.tree
    checks = diagnosis.checks.map { check in
      Line(
        name: check.name, state: String(describing: check.state), cause: check.cause,
        cure: check.cure)
    }
    devices = (diagnosis.devices.all.value ?? [])
      .filter { $0.verdict.text != DeviceVerdict.noMemory }
      .map { entry in
        DeviceLine(
          address: "\(entry.device.address)", driver: entry.device.driver,
          uses: entry.verdict.uses, verdict: entry.verdict, open: entry.isOpen,
          command: entry.verdict.command)
      }
    pools = (diagnosis.daemon.answer.value ?? nil)?.pools
  }
}
