import BrokerProtocol
import GenPoolClient
import PCIDevices

/// The pools that a daemon has made of a device's memory; none where no daemon answers.
struct AttachedPools {
  private let pools: [Broker1.Pool]

  init(of device: PCIAddress) {
    // Verbs that show devices need no daemon, and wait for none.
    let all = try? Connection(timeout: .seconds(1)).pools()
    pools = all?.filter { $0.device == device.description && $0.state != .waiting } ?? []
  }

  /// Which BARs are pools, as a sentence; nil when none is.
  var sentence: String? {
    guard !pools.isEmpty else { return nil }
    return "genpoold has it: "
      + pools.map { "BAR \($0.bar) is pool \($0.name)" }.joined(separator: ", ")
      + " (genpoolctl pool show)."
  }

  /// `is pool cmb`, for a BAR that pools are made of; nil for any other.
  func verdict(on bar: BAR.Index) -> String? {
    let names = pools.filter { $0.bar == bar.rawValue }.map(\.name)
    guard let first = names.first else { return nil }
    return names.count == 1 ? "is pool \(first)" : "is pools " + names.joined(separator: ", ")
  }
}
