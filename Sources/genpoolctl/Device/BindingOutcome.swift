import BrokerProtocol
import DriverBinding
import Glibc
import PCIDevices

/// A plan of binding, carried out or only said, and what is printed of it.
struct BindingOutcome {
  let plan: BindingPlan
  let binding: DeviceBinding
  let isDryRun: Bool

  init(_ plan: BindingPlan, of binding: DeviceBinding, isDryRun: Bool) {
    self.plan = plan
    self.binding = binding
    self.isDryRun = isDryRun
  }

  /// Does it unless it is refused, and prints it. A refusal is a failure, after what is printed.
  func finish(_ output: OutputOptions) throws {
    let isDone = plan.refusals.isEmpty && !isDryRun
    if isDone { try binding.carryOut(plan) }
    let driver = try binding.tree.device(at: plan.device.address).driver
    try output.write(
      Document(plan, isDone: isDone, driver: driver),
      text: Self.text(of: plan, isDone: isDone, driver: driver))
    guard plan.refusals.isEmpty else {
      throw Failure(
        "\(plan.device.address) stays as it is; see its refusals", name: "refused", errno: EPERM)
    }
  }

  /// What is shown to people.
  static func text(of plan: BindingPlan, isDone: Bool, driver: String?) -> String {
    var text = ""
    if let group = plan.device.iommuGroup {
      text += "IOMMU group \(group.number)"
      text += group.domain.map { " (domain \($0))\n" } ?? "\n"
    }
    let width = plan.members.map(\.name.count).max() ?? 0
    for member in plan.members {
      let name = member.name + String(repeating: " ", count: width - member.name.count)
      text += "  \(name)  driver \(member.driver ?? "none"): \(member.role.text)\n"
    }
    for refusal in plan.refusals {
      text += "refused by \(refusal.rule): \(refusal.subject): \(refusal.cause)".wrapped(indent: "")
      text += "\n" + "cure: \(refusal.cure)".wrapped(indent: "  ") + "\n"
    }
    guard plan.refusals.isEmpty else { return text }
    if isDone {
      text += "\(plan.device.address) has driver \(driver ?? "none") now\n"
    } else if plan.steps.isEmpty {
      text += "nothing is to be done\n"
    } else {
      text += "would be done:\n" + plan.steps.map { "  \($0)\n" }.joined()
    }
    return text
  }
}

extension BindingPlan.Role {
  fileprivate var text: String {
    switch self {
    case .changes: "changes"
    case .ready: "is ready"
    case .harmless: "may stay"
    case .inTheWay: "is in the way"
    }
  }
}

extension BindingOutcome {
  /// The same for programs.
  fileprivate struct Document: Encodable {
    let device: String
    /// The driver that it has now.
    let driver: String?
    let done: Bool
    let iommuGroup: UInt32?
    let members: [Member]
    let refusals: [Broker1.Refusal]
    let steps: [String]

    struct Member: Encodable {
      let name: String
      let driver: String?
      let role: String
    }

    init(_ plan: BindingPlan, isDone: Bool, driver: String?) {
      device = plan.device.address.description
      self.driver = driver
      done = isDone
      iommuGroup = plan.device.iommuGroup?.number
      members = plan.members.map {
        Member(name: $0.name, driver: $0.driver, role: $0.role.rawValue)
      }
      refusals = plan.refusals.map {
        Broker1.Refusal(rule: $0.rule, subject: $0.subject, cause: $0.cause, cure: $0.cure)
      }
      steps = plan.steps.map(\.description)
    }
  }
}
