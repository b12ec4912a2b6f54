import Broker
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import LinuxFixtures
import LinuxSystem
import PCIDevices
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
    /// What tells whether it is still reached. A ``Witness/fileLease`` is played by locks on what is lent,
    /// which live as long as the open file description: as good where no test takes them off.
    var witness = Witness.fileLease
    /// Whether a truncation is put right, as it is for a file of an emulated tree.
    var isEmulated = false
    /// The other sources through which nothing reaches it.
    var releasedSources: Set<MemorySource> = []
    var bars: Set<Int> = [0]
    /// Where the memory starts in the descriptor.
    var mapOffset: ByteCount = .zero
    /// How opening it fails.
    var failure: BrokerError?
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

  /// Devices with memory of their own, or with that of the same devices of `last`.
  init(_ devices: [TestDevice], memoriesOf last: MemoryProvider? = nil) throws {
    devicesByAddress = Dictionary(uniqueKeysWithValues: devices.map { ($0.address, $0) })
    var memories: [String: CInt] = [:]
    for device in devices {
      let size = device.mapOffset + device.size
      let memory =
        try last.map { dup($0.memory(of: device.address)) }
        ?? Descriptor(memory: "genpool-test-\(device.address)", size: size.rawValue).release()
      guard memory >= 0 else { throw Errno(rawValue: errno) }
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

  var listing: Listing { { () throws(BrokerError) in self.devices() } }

  private func devices() -> [Broker1.Device] {
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

  func opening(of request: AttachRequest) -> Opening {
    { () throws(BrokerError) in try self.open(request) }
  }

  func open(_ request: AttachRequest) throws(BrokerError) -> OpenBAR {
    let name = "\(request.memory.device)"
    guard let device = present[name] else { throw .noSuchDevice(device: name, bar: nil) }
    guard case .bar(let index) = request.memory.part, device.bars.contains(index.rawValue) else {
      throw .noSuchDevice(device: name, bar: Int("\(request.memory.part)"))
    }
    let bar = index.rawValue
    if let failure = device.failure, request.allow.isEmpty { throw failure }
    if let failure = failures.withLock({ $0[name] }) { throw failure }
    let offset = request.memory.offset
    guard offset < device.size else { throw .invalidParameter(parameter: "offset") }
    let size = request.memory.size ?? (device.size - offset)
    guard size > .zero, size <= device.size - offset else {
      throw .invalidParameter(parameter: "size")
    }
    let memory = dup(memory(of: name))
    guard memory >= 0 else {
      throw .system(
        SystemError(
          operation: "open", subject: name, errno: Errno(rawValue: errno)))
    }
    return OpenBAR(
      device: device.address, bar: bar, offset: offset, numaNode: nil,
      releasedSources: device.releasedSources,
      range: DeviceRange(
        descriptor: Descriptor(owning: memory), mapOffset: device.mapOffset + offset, size: size,
        physical: device.physical.map { $0 + offset }, bus: device.bus.map { $0 + offset },
        caching: .cached, isolation: device.isolation, source: device.source,
        label: "BAR \(bar) of \(device.address)",
        lender: Lender(
          memory: self.memory(of: name), device.witness,
          length: device.isEmulated ? device.mapOffset + device.size : nil, of: self),
        witness: device.witness,
        witnessAtOpening: witnessesAtOpening.withLock { $0[name] }
          ?? (device.witness == .none ? .unknown : .free),
        attachment: openCount.open()))
  }

  /// What the kernel answers when devices are opened, where a test decides that.
  let witnessesAtOpening = Mutex<[String: WitnessAnswer]>([:])
  /// The number of questions about single leases.
  let questions = Atomic(0)
  /// The errors that opening devices ends with, where a test decides that.
  let failures = Mutex<[String: BrokerError]>([:])

  /// Opens a memfd anew, and tells by locks whether that is still open.
  private final class Lender: DescriptorLender {
    private let memory: CInt
    private let kind: Witness
    private let hasLent = Atomic(false)
    private weak let provider: MemoryProvider?
    /// Where the bytes of its own lendings begin: an earlier run's are not its business.
    private let firstByte = off_t.random(in: 1...1 << 40)

    /// Of a device that is emulated.
    private let length: ByteCount?

    init(memory: CInt, _ kind: Witness, length: ByteCount?, of provider: MemoryProvider) {
      self.provider = provider
      self.length = length
      self.memory = memory
      self.kind = kind
    }

    func lend(for lending: Lending) throws(SystemError) -> Descriptor {
      let file = unsafe Glibc.open("/proc/self/fd/\(memory)", O_RDWR | O_CLOEXEC)
      guard file >= 0 else {
        throw SystemError(operation: "open", subject: "memory", errno: Errno(rawValue: errno))
      }
      var lock = Glibc.flock()
      lock.l_type = Int16(F_RDLCK)
      if kind == .perLease { (lock.l_start, lock.l_len) = (byte(of: lending), 1) }
      _ = unsafe fcntl(file, Self.setLock, &lock)
      hasLent.store(true, ordering: .relaxed)
      return Descriptor(owning: file)
    }

    func witness() -> WitnessAnswer {
      switch kind {
      case .reopening: hasLent.load(ordering: .relaxed) ? .unknown : .free
      case .none: .unknown
      case .fileLease, .perLease: locked(from: 0, count: 0)
      }
    }

    func witness(of lending: Lending) -> WitnessAnswer {
      provider?.questions.add(1, ordering: .relaxed)
      return kind == .perLease ? locked(from: byte(of: lending), count: 1) : .unknown
    }

    func restoreLength() throws(SystemError) -> FileLength {
      guard let length else { return .notApplicable }
      var status = stat()
      guard unsafe fstat(memory, &status) == 0, status.st_size < Int(length.rawValue) else {
        return .intact
      }
      guard ftruncate(memory, Int(length.rawValue)) == 0 else {
        throw SystemError(operation: "restore", subject: "memory", errno: Errno(rawValue: errno))
      }
      return .truncated(to: ByteCount(UInt64(status.st_size)))
    }

    private func byte(of lending: Lending) -> off_t { firstByte + off_t(lending.rawValue) }

    /// Whether a description that was lent has a lock on one of `count` bytes, 0 for all.
    private func locked(from start: off_t, count: off_t) -> WitnessAnswer {
      var lock = Glibc.flock()
      lock.l_type = Int16(F_WRLCK)
      (lock.l_start, lock.l_len) = (start, count)
      guard unsafe fcntl(memory, Self.getLock, &lock) == 0 else { return .unknown }
      return lock.l_type == Int16(F_UNLCK) ? .free : .reached
    }

    // F_OFD_SETLK and F_OFD_GETLK, which Glibc's module lacks.
    private static let setLock: CInt = 37
    private static let getLock: CInt = 36
  }
}
