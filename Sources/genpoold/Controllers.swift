import DeviceSources
import NVMe
import PCIDevices

/// The NVMe controllers whose registers are open, because some of their memory is: one that has a
/// buffer and a persistent region is opened once for both. Nothing keeps them but that memory.
final class Controllers {
  private struct WeakController {
    weak var controller: NVMeController?
  }

  /// Nobody else is served while a controller is waited for.
  private static let patience = Duration.seconds(5)

  private var known: [PCIAddress: WeakController] = [:]
  private let report: @Sendable (DeviceError) -> Void

  /// `report` is called for what could not be undone.
  init(report: @escaping @Sendable (DeviceError) -> Void) {
    self.report = report
  }

  /// The controller at `address`, opened by `source` if it is not.
  func controller(
    at address: PCIAddress, source: any BARSource, naming: BARRequest.Naming, allowed: Set<String>
  ) throws(DeviceError) -> NVMeController {
    known = known.filter { $0.value.controller != nil }
    // One that was pulled out while its memory is held is another device.
    if let open = known[address]?.controller, open.source === source, source.isPresent(address) {
      return open
    }
    let controller = try NVMeController(
      at: address, source: source, naming: naming, allowed: allowed, patience: Self.patience,
      report: report)
    known[address] = WeakController(controller: controller)
    return controller
  }
}
