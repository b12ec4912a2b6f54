import Broker
import BrokerProtocol
import CLinux
import DeviceMemory
import GenPool
import Glibc
import Synchronization
import SystemPackage

/// Devices that are made of memfds: what a broker sees of real ones, without any.
final class MemoryProvider: DeviceProvider, Sendable {
  /// A device whose BARs have the same memory.
  struct TestDevice: Sendable {
    var address: String
    var size: ByteCount
    var physical: PhysicalAddress? = PhysicalAddress(0x80_0000_0000)
    var bus: BusAddress? = BusAddress(0xc000_0000)
    var isolation: Isolation = .uidExclusive
    var source: MemorySource?
    var bars: Set<Int> = [0]
    /// Where the memory starts in the descriptor.
    var mapOffset: ByteCount = .zero
    /// How opening it fails.
    var failure: ProviderError?
  }

  /// Counts openings that have not been undone.
  final class OpenCount: Sendable {
    private let count = Atomic(0)

    var value: Int { count.load(ordering: .relaxed) }

    func open() -> Attachment {
      count.add(1, ordering: .relaxed)
      return Attachment(self)
    }

    final class Attachment: Sendable {
      private let count: OpenCount

      init(_ count: OpenCount) { self.count = count }
      deinit { count.count.subtract(1, ordering: .relaxed) }
    }
  }

  let openCount = OpenCount()
  private let devicesByAddress: [String: TestDevice]
  /// Addresses of those that are not plugged in.
  let absent = Mutex<Set<String>>([])
  private let memories: Mutex<[String: CInt]>

  init(_ devices: [TestDevice]) throws {
    devicesByAddress = Dictionary(uniqueKeysWithValues: devices.map { ($0.address, $0) })
    var memories: [String: CInt] = [:]
    for device in devices {
      let size = device.mapOffset + device.size
      let memory = unsafe gl_memfd("genpool-test-\(device.address)", size.rawValue)
      guard memory >= 0 else { throw Errno(rawValue: -memory) }
      memories[device.address] = memory
    }
    self.memories = Mutex(memories)
  }

  deinit {
    for memory in memories.withLock({ $0.values.map { $0 } }) { close(memory) }
  }

  /// The memory behind a device, for tests to look into and to break.
  func memory(of address: String) -> CInt { memories.withLock { $0[address] ?? -1 } }

  private var present: [String: TestDevice] {
    let absent = absent.withLock { $0 }
    return devicesByAddress.filter { !absent.contains($0.key) }
  }

  func devices() throws(ProviderError) -> [Broker1.Device] {
    present.values.sorted { $0.address < $1.address }.map { device in
      Broker1.Device(
        address: device.address, vendorID: 0x1b36, deviceID: 0x10, classCode: 0x01_08_02,
        bars: [
          Broker1.BAR(
            index: 0, physical: device.physical ?? PhysicalAddress(0), bus: device.bus,
            size: device.size, kind: "memory", prefetchable: true, width64: true)
        ])
    }
  }

  func open(_ request: AttachRequest) throws(ProviderError) -> OpenBAR {
    var bar: Int?
    if case .bar(let number) = request.memory { bar = number }
    guard let device = present[request.device], let bar, device.bars.contains(bar) else {
      let known = present[request.device] != nil
      throw .noSuchDevice(device: request.device, bar: known ? bar : nil)
    }
    if let failure = device.failure, request.allow.isEmpty { throw failure }
    let offset = request.offset ?? .zero
    guard offset < device.size else { throw .invalid(parameter: "offset") }
    let size = request.size ?? (device.size - offset)
    guard size > .zero, size <= device.size - offset else { throw .invalid(parameter: "size") }
    let memory = dup(memory(of: request.device))
    guard memory >= 0 else {
      throw .system(
        SystemError(
          operation: "open", subject: request.device, errno: Errno(rawValue: errno)))
    }
    return OpenBAR(
      device: device.address, bar: bar, offset: offset, numaNode: nil,
      range: DeviceRange(
        descriptor: Descriptor(owning: memory), mapOffset: device.mapOffset + offset, size: size,
        physical: device.physical.map { $0 + offset }, bus: device.bus.map { $0 + offset },
        caching: .cached, isolation: device.isolation, source: device.source,
        label: "BAR \(bar) of \(device.address)",
        attachment: openCount.open()))
  }
}
