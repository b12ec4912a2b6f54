import DeviceFixtures
import PCIDevices
import Testing

@testable import genpoold

/// What `--check-config` warns of, on emulated machines.
@Suite struct PoolForecastTests {
  private func obstacles(_ pools: String, in tree: TemporaryTree) throws -> [String] {
    let configuration = try Configuration(
      text: Array("{\"pools\": [\(pools)]}".utf8), file: "x.json")
    return configuration.warnings(in: DeviceTree(root: tree.root))
  }

  /// An entry, the device that it is about, and what is warned of; nil for nothing.
  private static let cases: [(entry: String, device: String, warning: String?)] = [
    (#""bar": 2"#, "nvme,cmb=4M", nil),
    (#""bar": 2, "size": "4M""#, "nvme,cmb=4M", nil),
    (#""bar": 2, "offset": "1M", "size": "3M""#, "nvme,cmb=4M", nil),
    (#""bar": 2, "size": "8M""#, "nvme,cmb=4M", ": 8 MiB passes the end of BAR 2"),
    (#""bar": 2, "offset": "1M", "size": "4M""#, "nvme,cmb=4M", "4 MiB from 1 MiB on passes"),
    (#""bar": 2, "offset": "4M""#, "nvme,cmb=4M", "the rest from 4 MiB on passes the end"),
    (#""bar": 0"#, "nvme,cmb=4M", "BAR 0 holds the NVMe controller's registers [registers]"),
    (#""bar": 5"#, "nvme,cmb=4M", "does not implement BAR 5 [no-such-bar]"),
    (#""bar": 2"#, "nvme,cmb=4M,driver=nvme", "driver nvme is bound to it [driver-bound]"),
    (#""bar": 2, "source": "vfio""#, "nvme,cmb=4M", "[no-iommu-group]"),
    (#""bar": 2"#, "nvme,cmb=4M,removable=yes", "calls it removable"),
    (#""bar": 2, "allow": ["hotplug"]"#, "nvme,cmb=4M,removable=yes", nil),
    (#""memory": "cmb""#, "nvme,cmb=4M", nil),
    (#""memory": "cmb""#, "ivshmem", "is no NVMe controller (class 0x050000)"),
    (#""memory": "cmb""#, "nvme,cmb=4M,driver=nvme", "[driver-bound]"),
  ]

  @Test func `what cannot be attached now is warned of, and only that`() throws {
    for (entry, device, warning) in Self.cases {
      let tree = try TemporaryTree(device)
      let found = try obstacles(
        "{\"device\": \"\(tree.address)\", \"name\": \"x\", \(entry)}", in: tree)
      guard let warning else {
        #expect(found.isEmpty, "\(entry) \(found)")
        continue
      }
      #expect(!found.isEmpty, "\(entry)")
      #expect(found.allSatisfy { $0.hasPrefix("pools[0] (x): ") }, "\(found)")
      #expect(found.contains { $0.contains(warning) }, "\(found)")
    }
  }

  @Test func `devices that are absent and memory that is taken twice are warned of`() throws {
    let tree = try TemporaryTree("ivshmem", "ivshmem")
    let absent = try obstacles(#"{"device": "09:00.0", "bar": 2}"#, in: tree)
    #expect(absent.count == 1 && absent[0].contains("there is no such device now"))
    let third = try obstacles(#"{"device": "1af4:1110", "nth": 3, "bar": 2}"#, in: tree)
    #expect(third.count == 1 && third[0].contains("there is no such device now"))
    #expect(try obstacles(#"{"device": "1af4:1110", "bar": 2}"#, in: tree).isEmpty)
    let twice = try obstacles(
      #"{"device": "01:00.0", "bar": 2}, {"device": "1af4:1110", "bar": 2}"#, in: tree)
    #expect(
      twice == [
        "pools[1] (BAR 2 of every 1af4:1110): pools[0] has the memory 0000:01:00.0:2 already"
      ])
  }

  @Test func `a machine without a PCI bus is one warning`() throws {
    let tree = try TemporaryTree("ivshmem")
    tree.remove("/bus/pci/devices")
    let found = try obstacles(#"{"device": "01:00.0", "bar": 2}"#, in: tree)
    #expect(found.count == 1 && found[0].hasPrefix("pools: which of them could be attached"))
    #expect(try obstacles("", in: tree).isEmpty)
  }
}
