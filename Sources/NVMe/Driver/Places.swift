public import DeviceDMA
public import DeviceSources
import GenPool
public import PCIDevices

/// The memory and the controllers that one driver works with, each opened once: a BAR has one user,
/// even when it holds the registers of one role and the memory of another.
public final class Places {
  /// Who opens them.
  public let source: any BARSource
  /// The device that will do DMA.
  public let initiator: PCIAddress
  private let allowed: Set<String>
  private var controllers: [PCIAddress: NVMeController] = [:]
  private var pools: [Place: BufferPool] = [:]

  /// How much of the host's memory is taken: queues, a list, and what one command moves at most.
  private static let hostSize: ByteCount = .mebibytes(4)

  /// Opens nothing yet.
  /// - Parameter allowed: attach rules that may be broken, for all devices.
  public init(initiator: PCIAddress, source: any BARSource, allowed: Set<String> = []) {
    self.initiator = initiator
    self.source = source
    self.allowed = allowed
  }

  /// The controller at `address`.
  public func controller(at address: PCIAddress) throws(NVMeError) -> NVMeController {
    if let known = controllers[address] { return known }
    do throws(DeviceError) {
      let controller = try NVMeController(at: address, source: source, allowed: allowed)
      controllers[address] = controller
      return controller
    } catch {
      throw .device(error)
    }
  }

  /// The memory at `place`, as a pool. Another device than the initiator must answer there, too.
  public func memory(at place: Place) throws(NVMeError) -> BufferPool {
    if let known = pools[place] { return known }
    let pool = try open(place)
    pools[place] = pool
    return pool
  }

  private func open(_ place: Place) throws(NVMeError) -> BufferPool {
    do {
      switch place {
      case .host:
        // Behind an IOMMU the memory's bus addresses are nobody's business.
        let bridge =
          source is SysfsSource
          ? try DirectHostBridge(above: controller(at: initiator).device) : nil
        return try BufferPool(host: Self.hostSize, below: bridge)
      case .buffer(let address):
        return try BufferPool(mapping: controller(at: address).open(.buffer))
      case .persistentRegion(let address):
        return try BufferPool(mapping: controller(at: address).open(.persistentRegion))
      case .bar(let address, let index):
        return try BufferPool(
          mapping: source.open(BARRequest(device: address, bar: index, allowed: allowed)))
      }
    } catch let error as NVMeError {
      throw error
    } catch let error as DeviceError {
      throw .device(error)
    } catch let error as BufferPoolError {
      throw .memory(error)
    } catch let error as DMAError {
      throw .unreachable(error)
    } catch {
      throw .unsupported("\(place): \(error)")
    }
  }
}
