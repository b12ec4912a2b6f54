import BrokerProtocol
import DeviceEvents
import DeviceSources
import GenPoolClient
import LinuxSystem
import PCIDevices

/// A device is plugged in, and memory of it can be attached, or is a pool.
struct DeviceCondition: WaitCondition {
  /// The time between two looks: of disks that are unmounted, say, no event tells.
  private static let pause = Duration.seconds(1)

  private let address: PCIAddress
  private let tree = DeviceTree()
  /// Nil where hot-plug cannot be watched, as in some containers: it is looked up then.
  private let events: (any DeviceEventSource)?
  private let socket: BrokerSocket

  init(_ address: PCIAddress, daemon socket: BrokerSocket) throws {
    self.address = address
    self.socket = socket
    events = try? DeviceEvents.watch(tree)
  }

  var name: String { "device \(address)" }

  func wait(until end: ContinuousClock.Instant) throws -> String? {
    while true {
      guard let problem = problem() else { return nil }
      guard awaitReadable(events?.descriptor ?? -1, Self.pause, until: end) else {
        return problem
      }
      // An event is a reason to look again, whatever it is of.
      do {
        try events?.drain { _ in }
      } catch {
        guard rest(Self.pause, until: end) else { return problem }
      }
    }
  }

  /// The reason why its memory cannot be attached; nil when it can be, or is a pool.
  private func problem() -> String? {
    do {
      let device = try tree.device(at: address)
      let rules = device.driver == IOMMUGroup.vfioDriver ? AttachRule.vfio : AttachRule.sysfs
      var subject = try AttachRule.Subject(
        BARRequest(device: address, bar: 0), of: device, in: tree)
      var first: String?
      var isAllowable = false
      for bar in device.bars where bar.kind == .memory {
        subject.request.bar = bar.index
        let refusals = AttachRule.refusals(of: subject, under: rules)
        guard let refusal = refusals.first else { return nil }
        isAllowable =
          isAllowable
          || refusals.allSatisfy { refusal in
            rules.contains { $0.name == refusal.rule && $0.canBeAllowed }
          }
        first = first ?? "BAR \(bar.index.rawValue): \(refusal.rule), \(refusal.cause)"
      }
      // The daemon makes no pool either of a device that breaks a rule which allow= cannot lift.
      return isAllowable && isPool ? nil : first ?? "it has no memory BAR"
    } catch {
      return "\(error)"
    }
  }

  /// Whether the daemon, if one runs, has made a pool of it. Connecting to the socket of one that
  /// does not would start it, and a daemon that starts erases memory.
  private var isPool: Bool {
    guard DaemonFacts.runs(in: .standard, as: nil).value == true else { return false }
    let pools = try? Connection(to: socket, timeout: .seconds(1)).pools()
    return pools?.contains { $0.device == "\(address)" && $0.state != .waiting } ?? false
  }
}
