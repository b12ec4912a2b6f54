import Broker
import BrokerProtocol
import DeviceMemory
import GenPool
import Glibc
import Testing

extension BrokerTests {
  /// Acquire and Release.
  struct LeaseTests {
    private static let devices: [MemoryProvider.TestDevice] = [
      .init(address: "0000:01:00.0", size: .mebibytes(1)),
      .init(
        address: "0000:02:00.0", size: .mebibytes(4), physical: PhysicalAddress(0x90_0000_0000),
        bus: nil, isolation: .cooperative, mapOffset: .kibibytes(64)),
    ]
    private static let attached: [Broker1.Attach.Parameters] = [
      .init(device: "0000:01:00.0", bar: 0, name: "pool0"),
      .init(device: "0000:02:00.0", bar: 0, granule: .kibibytes(64), name: "pool1"),
    ]

    @Test func `a lease is whole pages with its addresses, and reaches the device`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let held = try client.acquire(.init(bytes: 5000, fit: .fixed, offset: 8192))
      let lease = held.lease
      #expect(lease.size == 8192 && lease.offset == 8192 && lease.mapOffset == 8192)
      #expect(lease.physical == PhysicalAddress(0x80_0000_2000))
      #expect(lease.bus == BusAddress(0xc000_2000))
      #expect(lease.pool == "pool0" && lease.state == .leased && lease.isolation == "uid-exclusive")
      #expect(lease.pid.rawValue == getpid() && lease.generation.rawValue == 1)
      #expect(lease.lease.rawValue.count == 32)

      try held.map().write([1, 2, 3, 4], at: 16)
      var found = [UInt8](repeating: 0, count: 4)
      #expect(unsafe pread(broker.provider.memory(of: "0000:01:00.0"), &found, 4, 8192 + 16) == 4)
      #expect(found == [1, 2, 3, 4])
    }

    @Test func `memory that is leased again is zero`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      for _ in 0..<5 {
        let held = try client.acquire(.mebibytes(1))
        let region = try held.map()
        let bytes = try region.read(at: .zero, count: held.lease.size)
        #expect(bytes.allSatisfy { $0 == 0 })
        try region.write([UInt8](repeating: 0xa5, count: bytes.count), at: .zero)
        try client.release(held.lease)
      }
    }

    @Test func `what was in the BAR before is erased before it is leased`() throws {
      let provider = try TestBroker(attached: [])
      let memory = provider.provider.memory(of: "0000:01:00.0")
      let old = [UInt8](repeating: 0xff, count: 1 << 20)
      #expect(unsafe pwrite(memory, old, old.count, 0) == old.count)
      let client = try provider.admin()
      try client.send(Call(Broker1.Attach.self, .init(device: "0000:01:00.0", bar: 0)).frame())
      try client.send(Call(Broker1.Acquire.self, .init(bytes: .mebibytes(1))).frame())
      _ = try client.receive().result(of: Broker1.Attach.self)
      let held = try client.receiveLease()
      let bytes = try held.map().read(at: .zero, count: held.lease.size)
      #expect(bytes.allSatisfy { $0 == 0 })
    }

    @Test func `generations rise, and identities are never the same`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      var identities: Set<LeaseID> = []
      for generation in 1...20 {
        let held = try client.acquire(4096)
        #expect(held.lease.generation.rawValue == Int64(generation))
        identities.insert(held.lease.lease)
        try client.release(held.lease)
      }
      #expect(identities.count == 20)
    }

    @Test func `alignments hold for the physical and the bus address`() throws {
      let broker = try TestBroker(
        [
          .init(
            address: "0000:01:00.0", size: .mebibytes(7), physical: PhysicalAddress(0x80_0010_0000),
            bus: BusAddress(0x4010_0000))
        ])
      let client = try broker.client()
      for shift in (12..<23).reversed() {
        let alignment = ByteCount(1 << UInt64(shift))
        let held = try client.acquire(.init(bytes: 4096, alignment: alignment))
        #expect(held.lease.physical?.isAligned(to: alignment) == true)
        #expect(held.lease.bus?.isAligned(to: alignment) == true)
      }
    }

    @Test func `an alignment that the host bridge breaks is refused with the cause`() throws {
      let broker = try TestBroker(
        [
          .init(
            address: "0000:01:00.0", size: .mebibytes(4), physical: PhysicalAddress(0x80_0000_0000),
            bus: BusAddress(0x1000_0000 + 0x10_0000))
        ])
      let client = try broker.client()
      _ = try client.acquire(.init(bytes: 4096, alignment: .mebibytes(1)))
      let error = #expect(throws: ReplyError.self) {
        try client.acquire(.init(bytes: 4096, alignment: .mebibytes(2)))
      }
      #expect(error?.description.contains("host bridge") == true)
    }

    @Test func `fits choose as the allocator does`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      _ = try client.waitUntilClean()
      // Free: 0…32K, 48K…64K, 128K…1M.
      let first = try client.acquire(
        .init(bytes: .kibibytes(16), fit: .fixed, offset: .kibibytes(32)))
      let second = try client.acquire(
        .init(bytes: .kibibytes(64), fit: .fixed, offset: .kibibytes(64)))
      #expect(try client.acquire(.init(bytes: 4096)).lease.offset == .zero)
      #expect(try client.acquire(.init(bytes: 4096, fit: .best)).lease.offset == .kibibytes(48))
      let ordered = try client.acquire(.init(bytes: .kibibytes(20), fit: .orderAligned))
      #expect(ordered.lease.offset == .kibibytes(128))
      withExtendedLifetime((first.lease, second.lease)) {}
    }

    @Test(arguments: [
      ("{\"bytes\":0}", "bytes"), ("{}", "bytes"), ("{\"bytes\":9223372036854775807}", "too small"),
      ("{\"bytes\":1,\"alignment\":3}", "alignment"),
      ("{\"bytes\":1,\"alignment\":0}", "alignment"),
      ("{\"bytes\":1,\"alignment\":4096,\"fit\":\"best\"}", "alignment"),
      ("{\"bytes\":1,\"fit\":\"worst\"}", "fit"), ("{\"bytes\":1,\"fit\":\"fixed\"}", "offset"),
      ("{\"bytes\":1,\"offset\":0}", "offset"),
      ("{\"bytes\":1,\"fit\":\"fixed\",\"offset\":1}", "offset"),
      ("{\"bytes\":1,\"fit\":\"fixed\",\"offset\":1048576}", "offset"),
      ("{\"bytes\":1,\"fit\":\"fixed\",\"offset\":9223372036854771712}", "offset"),
      ("{\"bytes\":1,\"requestKey\":\"\"}", "requestKey"), ("{\"bytes\":1,\"near\":\"x\"}", "near"),
    ])
    func `a request that makes no sense names the parameter`(_ json: String, _ name: String) throws
    {
      let broker = try TestBroker()
      let client = try broker.client()
      try client.send("{\"method\":\"io.genpool.Broker1.Acquire\",\"parameters\":\(json)}")
      let error = #expect(throws: ReplyError.self) {
        try client.receive().result(of: Broker1.Acquire.self)
      }
      if name == "too small" {
        guard case .broker(.poolTooSmall) = error else {
          Issue.record("got \(String(describing: error))")
          return
        }
      } else {
        #expect(error == .broker(.invalidParameter(parameter: name)))
      }
      #expect(try client.pool().leases == 0)
    }

    @Test func `a pool can be named, and no other serves then`() throws {
      let broker = try TestBroker(Self.devices, attached: Self.attached)
      let client = try broker.client()
      let held = try client.acquire(1, pool: "pool1")
      #expect(held.lease.pool == "pool1" && held.lease.size == .kibibytes(64))
      #expect(held.lease.mapOffset == .kibibytes(64) && held.lease.bus == nil)
      #expect(throws: ReplyError.broker(.noSuchPool(pool: "x"))) {
        try client.acquire(1, pool: "x")
      }
    }

    @Test func `without a name the first pool that can serves`() throws {
      let broker = try TestBroker(Self.devices, attached: Self.attached)
      let client = try broker.client()
      #expect(try client.acquire(4096).lease.pool == "pool0")
      #expect(try client.acquire(.mebibytes(1)).lease.pool == "pool1")
      let none = try TestBroker(attached: [])
      #expect(throws: ReplyError.broker(.noPool)) { try none.client().acquire(1) }
    }

    @Test func `a full pool and a fragmented one are told apart`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      _ = try client.waitUntilClean()
      let low = try client.acquire(
        .init(bytes: .kibibytes(512), fit: .fixed, offset: .kibibytes(256)))
      #expect(
        throws: ReplyError.broker(
          .poolFragmented(
            pool: "pool0", bytes: .kibibytes(300), available: .kibibytes(512),
            largestFree: .kibibytes(256)))
      ) { try client.acquire(.kibibytes(300)) }
      #expect(
        throws: ReplyError.broker(
          .poolFull(pool: "pool0", bytes: .kibibytes(516), available: .kibibytes(512)))
      ) { try client.acquire(.kibibytes(513)) }
      #expect(
        throws: ReplyError.broker(
          .poolFragmented(
            pool: "pool0", bytes: 4096, available: .kibibytes(512),
            largestFree: .kibibytes(256), offset: .kibibytes(256)))
      ) { try client.acquire(.init(bytes: 4096, fit: .fixed, offset: .kibibytes(256))) }
      #expect(
        throws: ReplyError.broker(
          .poolFragmented(
            pool: "pool0", bytes: .kibibytes(300), available: .kibibytes(512),
            largestFree: .kibibytes(256), alignment: .kibibytes(512)))
      ) { try client.acquire(.init(bytes: .kibibytes(300), fit: .orderAligned)) }
      try client.release(low.lease)
      _ = try client.acquire(.mebibytes(1))
    }

    @Test func `the same request key gives the same lease, and a descriptor each time`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let first = try client.acquire(8192, key: "a")
      let again = try client.acquire(8192, key: "a")
      #expect(first.lease == again.lease)
      try first.map().write([7], at: .zero)
      #expect(try again.map().read(at: .zero, count: 1) == [7])
      #expect(try client.acquire(8192, key: "b").lease.lease != first.lease.lease)
      #expect(throws: ReplyError.broker(.invalidParameter(parameter: "requestKey"))) {
        try client.acquire(4096, key: "a")
      }
      try client.release(first.lease)
      #expect(try client.acquire(8192, key: "a").lease.lease != first.lease.lease)
    }

    @Test func `a request key belongs to its process, and survives its connection`() throws {
      let broker = try TestBroker()
      var one: TestClient? = try broker.client()
      let lease = try #require(try one?.acquire(1, key: "a").lease)
      one = nil
      let other = try broker.client()
      let again = try other.acquire(1, key: "a").lease
      #expect(again.lease == lease.lease && again.state == .leased)
      let stranger = try TestProcess(broker)
      #expect(try stranger.connection().acquire(1, key: "a").lease.lease != lease.lease)
    }

    @Test func `a request key gives a lease again that an admin has revoked`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let lease = try client.acquire(1, key: "a").lease
      _ = try broker.admin().call(Broker1.ForceRelease.self, .init(lease: lease.lease))
      let again = try client.acquire(1, key: "a").lease
      #expect(again.lease == lease.lease && again.state == .revoked)
    }

    @Test func `only the right lease of the right generation is released, once`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let lease = try client.acquire(4096).lease
      let unknown = LeaseID(rawValue: "0123")
      #expect(throws: ReplyError.broker(.noSuchLease(lease: unknown))) {
        try client.call(Broker1.Release.self, .init(lease: unknown, generation: lease.generation))
      }
      #expect(
        throws: ReplyError.broker(
          .staleGeneration(lease: lease.lease, generation: lease.generation))
      ) {
        try client.call(
          Broker1.Release.self, .init(lease: lease.lease, generation: Generation(rawValue: 9)))
      }
      try client.release(lease)
      #expect(throws: ReplyError.broker(.noSuchLease(lease: lease.lease))) {
        try client.release(lease)
      }
    }

    @Test func `another process may not release a lease`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let lease = try client.acquire(4096).lease
      let other = try TestProcess(broker)
      #expect(throws: ReplyError.broker(.permissionDenied)) {
        try other.connection().release(lease)
      }
      #expect(try client.pool().leases == 1)
    }

    @Test func `the lease table has an end, and says so`() throws {
      let broker = try TestBroker(configure: { $0.leaseLimit = 3 })
      let client = try broker.client()
      let first = try client.acquire(1).lease
      try client.acquire(1)
      try client.acquire(1)
      #expect(throws: ReplyError.broker(.leaseTableFull(capacity: 3))) { try client.acquire(1) }
      try client.release(first)
      try wait(for: "the lease to be clean") { (try? client.acquire(1)) != nil }
    }

    @Test func `what cannot be met yet waits for the scrubber, first come first served`() throws {
      // Large enough to take the scrubber a while; small slices, so that it could overtake.
      let size = ByteCount.mebibytes(128)
      let broker = try TestBroker(
        [.init(address: "0000:01:00.0", size: size)], attached: [],
        configure: { $0.scrubSlice = .kibibytes(64) })
      let clients = try [broker.admin()] + (0..<3).map { _ in try broker.client() }
      // In one go, so that the Acquire is there before the first slice is done.
      try clients[0].send(
        Call(Broker1.Attach.self, .init(device: "0000:01:00.0", bar: 0, name: "pool0")).frame()
          + Call(Broker1.Acquire.self, .init(bytes: size)).frame()
          // Not looked at before the Acquire is answered.
          + Call(Broker1.ListPools.self, .init()).frame())
      #expect(try clients[0].receive().result(of: Broker1.Attach.self).pool.dirty == size)
      // These could be met long before, but the first asked first.
      for client in clients.dropFirst() {
        try client.send(Call(Broker1.Acquire.self, .init(bytes: 4096)).frame())
      }
      let all = try clients[0].receiveLease()
      #expect(all.lease.size == size)
      #expect(try clients[0].receive().result(of: Broker1.ListPools.self).pools.first?.leases == 1)
      for client in clients.dropFirst() {
        #expect(
          throws: ReplyError.broker(.poolFull(pool: "pool0", bytes: 4096, available: .zero))
        ) { try client.receiveLease() }
      }
      // And now they wait for the release.
      try clients[0].release(all.lease)
      #expect(try clients[1].acquire(4096).lease.offset == .zero)
    }

    @Test func `who waits and hangs up does not get memory, and is not waited for`() throws {
      let size = ByteCount.mebibytes(64)
      let broker = try TestBroker(
        [.init(address: "0000:01:00.0", size: size)], attached: [],
        configure: { $0.scrubSlice = .kibibytes(64) })
      do {
        let gone = try broker.admin()
        try gone.send(
          Call(Broker1.Attach.self, .init(device: "0000:01:00.0", bar: 0, name: "pool0")).frame()
            + Call(Broker1.Acquire.self, .init(bytes: size)).frame())
        _ = try gone.receive()
      }
      let client = try broker.client()
      #expect(try client.acquire(4096).lease.offset == .zero)
      #expect(try client.waitUntilClean().leases == 1)
    }
  }
}
