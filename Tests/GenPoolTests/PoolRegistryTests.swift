import GenPool
import Testing

struct PoolRegistryTests {
  @Test func `a device has one pool of a name`() throws {
    let registry = PoolRegistry()
    let named = try registry.create(device: "0000:01:00.0", name: "cmb", granule: .page)
    let unnamed = try registry.create(device: "0000:01:00.0", granule: .page)
    #expect(throws: PoolError.nameTaken("cmb")) {
      try registry.create(device: "0000:01:00.0", name: "cmb", granule: .page)
    }
    #expect(throws: PoolError.nameTaken(nil)) {
      try registry.create(device: "0000:01:00.0", granule: .page)
    }
    #expect(PoolError.nameTaken(nil).errorNumber == 22)
    #expect(registry.pool(device: "0000:01:00.0", name: "cmb") === named)
    #expect(registry.pool(device: "0000:01:00.0") === unnamed)
    #expect(registry.pool(device: "0000:02:00.0") == nil)
    #expect(registry.pool(device: "0000:01:00.0", name: "pmr") == nil)
    #expect(named.name == "cmb")
  }

  @Test func `the pools of a device end with it, unless something is allocated`() throws {
    let registry = PoolRegistry()
    let pool = try registry.create(device: "a", granule: .page)
    let other = try registry.create(device: "b", granule: .page)
    try pool.add(start: VirtualAddress(0x1000), size: 4096)
    let allocation = try pool.allocate(1)
    #expect(throws: PoolError.outstanding(4096)) { try registry.removeDevice("a") }
    #expect(registry.pool(device: "a") === pool)
    try pool.free(allocation)
    try registry.removeDevice("a")
    #expect(registry.pool(device: "a") == nil)
    #expect(registry.pool(device: "b") === other)
    #expect(throws: PoolError.destroyed) { try pool.allocate(1) }
  }
}
