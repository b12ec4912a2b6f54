import BrokerProtocol
import DeviceMemory
import GenPool
import PCIDevices

/// The reasons for which pools of a configuration could not be attached as the machine is now: what
/// `--check-config` warns of. Reads sysfs; opens and changes nothing.
struct PoolForecast {
  /// One sentence each, in the order of the file: `pools[0] (cmb): …`.
  private(set) var obstacles: [String] = []

  private let tree: DeviceTree
  /// The entry that has the memory already.
  private var owners: [DeviceMemoryID: Int] = [:]

  init(_ entries: [PoolEntry], in tree: DeviceTree) {
    self.tree = tree
    guard !entries.isEmpty else { return }
    do throws(DeviceError) {
      // Groups of 500 devices are read once for all of the pools.
      try tree.readingSharedOnce { () throws(DeviceError) in
        let devices = try tree.list().devices
        for (index, entry) in entries.enumerated() { look(entry, index, among: devices) }
      }
    } catch {
      obstacles.append("pools: which of them could be attached is not known: \(error)")
    }
  }

  private mutating func look(_ entry: PoolEntry, _ index: Int, among devices: [Device]) {
    func report(_ cause: String) { obstacles.append("pools[\(index)] (\(entry.title)): \(cause)") }
    let found: [Device]
    let naming: BARRequest.Naming
    switch entry.device {
    case .address(let address):
      (found, naming) = (devices.filter { $0.address == address }, .byAddress)
    case .search(let identity, let nth):
      let all = devices.filter { $0.identity == identity }
      (found, naming) = (nth.map { Array(all.dropFirst($0 - 1).prefix(1)) } ?? all, .bySearch)
    }
    if found.isEmpty {
      report("there is no such device now; the pool comes when it is plugged in")
    }
    for device in found {
      let memory = DeviceMemoryID(device: device.address, part: entry.part)
      if let owner = owners[memory] {
        report("pools[\(owner)] has the memory \(memory) already")
      }
      owners[memory] = owners[memory] ?? index
      for cause in causes(entry, device, naming) { report(cause) }
    }
  }

  /// The reasons for which the memory of `device` that `entry` is about could not be opened.
  private func causes(
    _ entry: PoolEntry, _ device: Device, _ naming: BARRequest.Naming
  ) -> [String] {
    let request: BARRequest
    switch entry.part {
    case .bar(let index):
      request = BARRequest(
        device: device.address, bar: index, offset: entry.offset, size: entry.size,
        naming: naming, allowed: Set(entry.allow))
    case .controllerMemoryBuffer, .persistentMemoryRegion, .registers:
      guard device.classCode == .nvme else {
        return ["\(device.address) is no NVMe controller (class \(device.classCode))"]
      }
      // Only the controller's registers tell the memory's place, and to read them is to open it.
      request = BARRequest(
        device: device.address, bar: 0, naming: naming, allowed: Set(entry.allow),
        contents: .registers)
    }
    do throws(DeviceError) {
      let subject = try AttachRule.Subject(request, of: device, in: tree)
      let rules =
        switch entry.source {
        case .sysfs: AttachRule.sysfs
        case .vfio: AttachRule.vfio
        }
      return AttachRule.refusals(of: subject, under: rules).map {
        "\($0.subject) is refused: \($0)"
      } + [excess(entry, device)].compactMap { $0 }
    } catch {
      return ["\(error)"]
    }
  }

  /// By how much the piece passes the BAR's end; nil when it does not, or its end is not known.
  private func excess(_ entry: PoolEntry, _ device: Device) -> String? {
    guard case .bar(let index) = entry.part, let bar = device.bar(index) else { return nil }
    let size = entry.size ?? ByteCount(1)
    guard entry.offset >= bar.size || size > bar.size - entry.offset else { return nil }
    let piece =
      (entry.size?.description ?? "the rest")
      + (entry.offset == .zero ? "" : " from \(entry.offset) on")
    return "\(piece) passes the end of BAR \(index) of \(device.address), which is \(bar.size) long"
  }
}
