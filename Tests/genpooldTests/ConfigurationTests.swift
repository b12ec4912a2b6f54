import Broker
import BrokerLeases
import BrokerProtocol
import DeviceMemory
import GenPool
import Logging
import PCIDevices
import Testing

@testable import genpoold

/// What a configuration says when nothing is wrong with it.
struct ConfigurationTests {
  private func read(_ text: String) throws -> Configuration {
    try Configuration(text: Array(text.utf8), file: "f")
  }

  private func pool(_ fields: String) throws -> PoolEntry {
    let text = "{\"pools\": [{\"device\": \"0000:01:00.0\", \"bar\": 2\(fields)}]}"
    return try #require(try read(text).pools.first)
  }

  @Test func `an empty configuration leaves everything to the defaults`() throws {
    #expect(try read("{}") == Configuration())
    #expect(try read("{\"pools\": [], \"quotas\": {}}") == Configuration())
  }

  @Test func `the daemon's own keys`() throws {
    let configuration = try read(
      """
      {"socket": "/run/x", "group": "root", "adminGroup": "root", "logLevel": "debug",
       "maxLeases": 7, "record": "/var/log/genpool"}
      """)
    #expect(configuration.socket == "/run/x" && configuration.maxLeases == 7)
    #expect(configuration.group == .init(name: "root", gid: 0))
    #expect(configuration.adminGroup == .init(name: "root", gid: 0))
    #expect(configuration.logLevel == .debug && configuration.record == "/var/log/genpool")
    #expect(try read("{\"socket\": \"@genpool\"}").socket == "@genpool")
  }

  @Test func `a pool's keys`() throws {
    let plain = try pool("")
    #expect(plain.device == .address(try #require(PCIAddress("01:00.0"))) && plain.part == .bar(2))
    #expect(plain.isolation == .uidExclusive && plain.allow.isEmpty && plain.name == nil)
    let full = try pool(
      """
      , "name": "cmb", "offset": 4096, "size": "1 MiB", "granule": "0x10000",
      "isolation": "cooperative", "allow": ["hotplug", "not-prefetchable"]
      """)
    #expect(full.name == "cmb" && full.offset == .kibibytes(4) && full.size == .mebibytes(1))
    #expect(full.granule == .kibibytes(64) && full.isolation == .cooperative)
    #expect(full.allow == ["hotplug", "not-prefetchable"])
    #expect(try pool(", \"isolation\": \"uid-exclusive\"").isolation == .uidExclusive)
    #expect(plain.source == .sysfs)
    let vfio = try pool(", \"source\": \"vfio\", \"allow\": [\"not-prefetchable\"]")
    #expect(
      vfio.source == .vfio
        && vfio.wanted(among: [device("0000:01:00.0")]).first?.parameters.source == "vfio")
  }

  @Test func `a user's quota is everybody's where it says nothing else`() throws {
    let quotas = try read(
      """
      {"quotas": {"defaults": {"bytes": "64M", "leases": 10, "connections": 2},
        "users": {"4242": {"bytes": "1G"}, "4243": {"leases": "unlimited"}, "root": {}}}}
      """
    ).quotas
    #expect(quotas.defaults == .init(bytes: .mebibytes(64), leases: 10, connections: 2))
    #expect(
      quotas.limits(of: UID(rawValue: 4242))
        == .init(bytes: .gibibytes(1), leases: 10, connections: 2))
    #expect(
      quotas.limits(of: UID(rawValue: 4243))
        == .init(bytes: .mebibytes(64), leases: nil, connections: 2))
    #expect(quotas.limits(of: UID(rawValue: 1)) == quotas.defaults)
    #expect(quotas.overrides[UID(rawValue: 0)] != nil)
  }

  @Test func `a pool's users, groups and shares`() throws {
    #expect(try pool("").policy == .open)
    let policy = try pool(
      """
      , "access": {"users": ["root", "4242", 4243], "groups": ["root"]},
      "quotas": {"defaults": {"bytes": "64M"}, "users": {"4242": {"leases": 2}, "root": {}}}
      """
    ).policy
    let access = try #require(policy.access)
    #expect(
      access.users == [
        .init(name: "root", number: 0), .init(name: "4242", number: 4242),
        .init(name: "4243", number: 4243),
      ])
    #expect(access.groups == [.init(name: "root", number: 0)])
    #expect(policy.quotas.limits(of: UID(rawValue: 1)) == .init(bytes: .mebibytes(64)))
    #expect(
      policy.quotas.limits(of: UID(rawValue: 4242)) == .init(bytes: .mebibytes(64), leases: 2))
    #expect(policy.quotas.limits(of: UID(rawValue: 0)) == .unlimited)
    #expect(try pool(", \"access\": {}").policy.access == PoolAccess())
  }

  @Test func `a pool whose users change is the same pool`() throws {
    let machine = [device("0000:01:00.0")]
    let plain = try pool("").wanted(among: machine)
    let shared = try pool(", \"access\": {\"users\": [7]}").wanted(among: machine)
    #expect(plain == shared && plain.first?.policy != shared.first?.policy)
  }

  @Test func `escapes in keys and text are read`() throws {
    #expect(try read(#"{"max\u004ceases": 3, "socket": "\/run\/x"}"#).maxLeases == 3)
  }

  // MARK: Devices

  private func device(_ address: String, _ vendor: UInt16 = 0x1af4) -> Broker1.Device {
    Broker1.Device(
      address: address, vendorID: vendor, deviceID: 0x1110, classCode: 0x05_00_00, bars: [])
  }

  private func wanted(_ fields: String) throws -> [WantedPool] {
    let machine = [device("0000:03:00.0"), device("0000:01:00.0"), device("0000:02:00.0", 1)]
    let entry = try #require(
      try read("{\"pools\": [{\"bar\": 2, \(fields)}]}").pools.first)
    return entry.wanted(among: machine)
  }

  @Test func `a search finds all devices with its ids, and their names do not change`() throws {
    let named = try wanted("\"device\": \"1af4:1110\", \"name\": \"shm\"")
    #expect(named.map(\.name) == ["shm/0000:01:00.0", "shm/0000:03:00.0"])
    #expect(named.map(\.parameters.device) == ["0000:01:00.0", "0000:03:00.0"])
    #expect(named.allSatisfy { $0.isSearched })
    let unnamed = try wanted("\"device\": \"1af4:1110\"")
    #expect(unnamed.map(\.name) == ["0000:01:00.0/2", "0000:03:00.0/2"])
  }

  @Test func `one of those found is counted by address`() throws {
    let second = try wanted("\"device\": \"1af4:1110\", \"nth\": 2, \"name\": \"shm\"")
    #expect(second.map(\.name) == ["shm"] && second[0].parameters.device == "0000:03:00.0")
    #expect(try wanted("\"device\": \"1af4:1110\", \"nth\": 3").isEmpty)
    #expect(try wanted("\"device\": \"1af4:9999\"").isEmpty)
  }

  @Test func `an address is itself, or missing`() throws {
    let found = try wanted("\"device\": \"02:00.0\", \"name\": \"x\"")
    #expect(found.map(\.name) == ["x"] && !found[0].isSearched)
    #expect(try wanted("\"device\": \"09:00.0\"").isEmpty)
  }

  @Test func `subordinate users are read from a file as subuid(5) has it`() {
    let numbers: [String: UInt32] = ["alice": 1000, "1001": 1001]
    let users = SubordinateUsers(
      text: """
        alice:100000:65536
        1001:165536:65536

        # alice:1:1
        nobody-here:300000:65536
        alice:x:1
        alice:1:2:3
        alice:4294967295:4294967295
        """
    ) { numbers[$0].map(UID.init(rawValue:)) }
    let quotas = Quotas(subordinates: users)
    func account(_ uid: UInt32) -> UInt32 { quotas.account(of: UID(rawValue: uid)).rawValue }
    #expect(
      [100_000, 165_535, 165_536, 300_000, 1, .max].map(account) == [
        1000, 1000, 1001, 300_000, 1, 1000,
      ])
    #expect(SubordinateUsers(file: "/there/is/none") == SubordinateUsers())
  }

  // MARK: Changes

  @Test func `what changed is said key by key`() throws {
    let old = try read(
      """
      {"maxLeases": 5, "socket": "/a", "record": "/c", "quotas": {"users": {"7": {"leases": 1}}},
       "pools": [{"device": "01:00.0", "bar": 0}, {"device": "02:00.0", "bar": 0},
                 {"device": "03:00.0", "bar": 0, "name": "x"}]}
      """)
    let new = try read(
      """
      {"logLevel": "debug", "socket": "/b", "quotas": {"defaults": {"bytes": "1M"}},
       "pools": [{"device": "01:00.0", "bar": 0}, {"device": "02:00.0", "bar": 1},
                 {"device": "03:00.0", "bar": 2, "name": "x"}]}
      """)
    let changes = ConfigurationChanges(from: old, to: new)
    #expect(
      changes.lines == [
        "logLevel: default -> debug", "maxLeases: 5 -> default",
        "quotas.defaults: leases=16384 connections=256 -> bytes=1 MiB leases=16384 connections=256",
        "quotas.users.7: leases=1 connections=256 -> default", "record: /c -> nowhere",
        "pool BAR 0 of 0000:02:00.0: removed", "pool BAR 1 of 0000:02:00.0: added",
        "pool x: changed (device BAR 0 of 0000:03:00.0 -> BAR 2 of 0000:03:00.0)",
      ])
    #expect(changes.afterRestart == ["socket: /a -> /b"])
    #expect(changes.count == 9)
    #expect(ConfigurationChanges(from: new, to: new).count == 0)
    let overridden = ConfigurationChanges(
      from: old, to: new, overriddenBy: ["logLevel": "--log-level"])
    #expect(overridden.overridden.map(\.line) == ["logLevel: default -> debug"])
    #expect(overridden.count == 9 && overridden.lines.count == 7)
  }
}
