public import DeviceDMA
public import DeviceMemory
import DeviceSources
import GenPool
public import NVMe
public import PCIDevices

/// The memory and the controllers that one driver works with, each opened once: a BAR has one user,
/// even when it holds the registers of one controller and the memory of another.
public final class DriverMemory {
  /// Opens them.
  public let opener: DeviceOpener
  /// The device that will do DMA.
  public let initiator: PCIAddress
  private let options: OpeningOptions
  private var controllers: [PCIAddress: NVMeController] = [:]
  private var pools: [MemoryChoice: BufferPool] = [:]

  /// The host's memory that is taken: queues, a list, and the most that one command moves.
  private static let hostSize: ByteCount = .mebibytes(4)

  /// Opens nothing yet.
  /// - Parameters:
  ///   - source: the interface that all devices are opened through.
  ///   - allowed: attach rules that may be broken, for all devices.
  public init(
    initiator: PCIAddress, source: MemorySource = .sysfs, allowed: Set<String> = [],
    opener: DeviceOpener = DeviceOpener()
  ) {
    self.initiator = initiator
    self.opener = opener
    options = OpeningOptions(source: source, allowed: allowed)
  }

  /// The controller at `address`.
  public func controller(at address: PCIAddress) throws(NVMeError) -> NVMeController {
    if let known = controllers[address] { return known }
    do throws(DeviceError) {
      let controller = try opener.controller(at: address, options)
      controllers[address] = controller
      return controller
    } catch {
      throw .device(error)
    }
  }

  /// A pool of the memory chosen. Another device than the initiator must answer there, too.
  public func pool(of choice: MemoryChoice) throws(NVMeError) -> BufferPool {
    if let known = pools[choice] { return known }
    let pool = try open(choice)
    pools[choice] = pool
    return pool
  }

  private func open(_ choice: MemoryChoice) throws(NVMeError) -> BufferPool {
    do {
      switch choice {
      case .host:
        // Behind an IOMMU the memory's bus addresses play no part.
        let bridge =
          options.source == .sysfs
          ? try DirectHostBridge(above: controller(at: initiator).device) : nil
        return try BufferPool(host: Self.hostSize, below: bridge)
      case .device(let id, let mayErase):
        var options = options
        options.protectsPersistent = !mayErase
        return try BufferPool(mapping: opener.open(id, options))
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
      throw .unsupported("\(choice): \(error)")
    }
  }
}
