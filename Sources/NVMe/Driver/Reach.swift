import DeviceDMA
import GenPool
import PCIDevices

/// By which addresses a controller finds buffers. Each region is mapped for it when first asked
/// about, and stays mapped until this ends: after the controller was stopped.
struct Reach {
  private let initiator: Initiator
  private var mappings: [ObjectIdentifier: DMAMapping] = [:]

  init(_ controller: NVMeController) throws(NVMeError) {
    do throws(DMAError) {
      initiator = try controller.source.initiator(at: controller.address)
    } catch {
      throw .unreachable(error)
    }
  }

  /// Where the controller finds `buffer`.
  mutating func address(of buffer: DMABuffer) throws(NVMeError) -> DMAAddress {
    // Its own memory it knows by the base address that it was given: the bus address, whatever an
    // IOMMU does to what leaves it.
    if buffer.owner == initiator.device, let bus = buffer.allocation.bus { return .bus(bus) }
    do throws(DMAError) {
      let region = ObjectIdentifier(buffer.shared)
      let mapping: DMAMapping
      if let known = mappings[region] {
        mapping = known
      } else {
        mapping = try dmaAddress(of: DMAMemory(buffer.shared), for: initiator)
        mappings[region] = mapping
      }
      return try mapping.address(of: buffer.allocation.start, size: buffer.size)
    } catch {
      throw .unreachable(error)
    }
  }
}
