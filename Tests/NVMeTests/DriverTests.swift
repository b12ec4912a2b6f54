import DeviceDMA
import DeviceFixtures
import DeviceMemory
import DeviceSources
import GenPool
import NVMe
import PCIDevices
import Synchronization
import SystemPackage
import Testing

/// The driver, with a model of a controller at the other end.
@Suite(.serialized) struct DriverTests {
  /// A driver whose queues, lists and data are all in one pool, the model's buffer.
  private struct Bench {
    let tree: TemporaryTree
    let model: ModelController
    let controller: NVMeController
    let pool: BufferPool

    init(_ behaviour: ModelController.Behaviour = .normal) throws {
      tree = try TemporaryTree("nvme,cmb=1M", "nvme,cmb=1M")
      controller = try NVMeController(at: tree.address, source: SysfsSource(root: tree.root))
      let opened = try controller.open(.buffer)
      let start = opened.range.bus
      let bus = try #require(start)
      // As a controller that can keep anything in its buffer.
      pool = try BufferPool(mapping: opened.intoRange(), owner: tree.address)
      model = try ModelController(tree, busStart: bus, behaviour)
    }

    func driver() throws -> Driver {
      let driver = try Driver(
        controller, memory: .init(submissions: pool, completions: pool, lists: pool))
      driver.patience = .milliseconds(300)
      return driver
    }

    /// Memory of the other controller, which the model does not reach.
    func peer() throws -> BufferPool {
      let peer = try NVMeController(at: tree.addresses[1], source: controller.source)
      return try BufferPool(mapping: peer.open(.buffer))
    }

    func allocate(_ size: ByteCount) throws -> DMABuffer {
      try pool.allocate(size, for: .readData, by: tree.address)
    }
  }

  private func count(_ blocks: Int) throws -> BlockCount { try #require(BlockCount(blocks)) }

  @Test func `identify, read, write and an orderly end give all memory back`() throws {
    let bench = try Bench()
    defer { bench.model.stop() }
    do {
      let driver = try bench.driver()
      let page = try bench.allocate(.kibibytes(4))
      #expect(try driver.identify(into: page).serial == "model")
      let namespace = try driver.identify(1, into: page)
      #expect(namespace.identity.blocks == UInt64(ModelController.blocks))
      try driver.openQueues()
      // One page, two, and a list.
      for blocks in [1, 8, 9, 16, 17, 200] {
        let size = ByteCount(512 * blocks)
        let buffer = try bench.allocate(size)
        try buffer.write([UInt8](repeating: 0xee, count: Int(size.rawValue)))
        try driver.move(.read, namespace, BlockAddress(3), count(blocks), [buffer])
        let expected = bench.model.disk.withLock { Array($0[1536..<(1536 + 512 * blocks)]) }
        #expect(try buffer.read(count: size) == expected)
        let written = expected.map { ~$0 }
        try buffer.write(written)
        try driver.move(.write, namespace, BlockAddress(3), count(blocks), [buffer])
        #expect(bench.model.disk.withLock { Array($0[1536..<(1536 + 512 * blocks)]) } == written)
        try bench.pool.free(buffer)
      }
      try driver.flush(namespace)
      try bench.pool.free(page)
      try driver.shutDown()
    }
    #expect(bench.pool.pool.available == .mebibytes(1))
  }

  @Test func `queues go round many times, and are closed and opened again`() throws {
    let bench = try Bench()
    defer { bench.model.stop() }
    let driver = try bench.driver()
    let page = try bench.allocate(.kibibytes(4))
    let namespace = try driver.identify(1, into: page)
    for round in 0..<3 {
      try driver.openQueues()
      for block in 0..<150 {
        let first = BlockAddress(UInt64(150 * round + block))
        try driver.move(.read, namespace, first, count(1), [page])
        let start = 512 * Int(first.rawValue)
        #expect(
          try page.read(count: 512)
            == bench.model.disk.withLock { Array($0[start..<(start + 512)]) })
      }
      try driver.closeQueues()
      #expect(!driver.hasQueues)
    }
    try driver.shutDown()
  }

  @Test
  func `one command's data may be scattered over buffers, but only the last may end within a page`()
    throws
  {
    let bench = try Bench()
    defer { bench.model.stop() }
    let driver = try bench.driver()
    let first = try bench.allocate(.kibibytes(4))
    _ = try bench.allocate(.kibibytes(4))
    let second = try bench.allocate(.kibibytes(8))
    let namespace = try driver.identify(1, into: first)
    try driver.openQueues()
    try driver.move(.read, namespace, BlockAddress(0), count(20), [first, second])
    let expected = bench.model.disk.withLock { Array($0[..<10240]) }
    #expect(try first.read(count: 4096) + second.read(count: 6144) == expected)
    let short = try bench.allocate(512)
    #expect(throws: NVMeError.self) {
      try driver.move(.read, namespace, BlockAddress(0), count(20), [short, second])
    }
    #expect(throws: NVMeError.self) {
      try driver.move(.read, namespace, BlockAddress(0), count(20), [second])
    }
    try driver.shutDown()
  }

  @Test func `a command that fails says its status, and the next one works`() throws {
    let bench = try Bench()
    defer { bench.model.stop() }
    let driver = try bench.driver()
    let page = try bench.allocate(.kibibytes(4))
    let namespace = try driver.identify(1, into: page)
    try driver.openQueues()
    let error = try #require(throws: NVMeError.self) {
      try driver.move(
        .read, namespace, BlockAddress(UInt64(ModelController.blocks)), count(1), [page])
    }
    #expect(error.status?.name == "LBA Out of Range")
    #expect(error.description.contains("Read on \(bench.tree.address): status 0x4080"))
    try driver.move(.read, namespace, BlockAddress(0), count(1), [page])
    try driver.shutDown()
  }

  @Test func `a list is given back when its command fails`() throws {
    let bench = try Bench(.failing(0x4012))
    defer { bench.model.stop() }
    let driver = try bench.driver()
    let buffer = try bench.allocate(.kibibytes(16))
    let namespace = try driver.identify(1, into: buffer)
    try driver.openQueues()
    let before = bench.pool.pool.available
    let error = try #require(throws: NVMeError.self) {
      try driver.move(.read, namespace, BlockAddress(0), count(32), [buffer])
    }
    #expect(error.status?.name == "Invalid Use of Controller Memory Buffer")
    #expect(bench.pool.pool.available == before)
  }

  @Test func `a command that does not end keeps its list, and its queue takes no others`() throws {
    let bench = try Bench(.silent)
    defer { bench.model.stop() }
    let driver = try bench.driver()
    let buffer = try bench.allocate(.kibibytes(16))
    let namespace = try driver.identify(1, into: buffer)
    try driver.openQueues()
    let before = bench.pool.pool.available
    let error = try #require(throws: NVMeError.self) {
      try driver.move(.read, namespace, BlockAddress(0), count(32), [buffer])
    }
    guard case .timeout = error else {
      Issue.record("\(error)")
      return
    }
    #expect(bench.pool.pool.available + 4096 == before)
    let next = try #require(throws: NVMeError.self) {
      try driver.move(.read, namespace, BlockAddress(0), count(1), [buffer])
    }
    #expect(next.description.contains("has stopped"))
  }

  @Test func `completions of commands that nobody gave are errors`() throws {
    let bench = try Bench(.confused)
    defer { bench.model.stop() }
    let driver = try bench.driver()
    let page = try bench.allocate(.kibibytes(4))
    let namespace = try driver.identify(1, into: page)
    try driver.openQueues()
    let error = try #require(throws: NVMeError.self) {
      try driver.move(.read, namespace, BlockAddress(0), count(1), [page])
    }
    #expect(error.description.contains("completed a command wrongly"))
  }

  @Test func `a controller that has failed is said to have`() throws {
    let bench = try Bench(.fatal)
    defer { bench.model.stop() }
    let driver = try bench.driver()
    let page = try bench.allocate(.kibibytes(4))
    let namespace = try driver.identify(1, into: page)
    try driver.openQueues()
    let error = try #require(throws: NVMeError.self) {
      try driver.move(.read, namespace, BlockAddress(0), count(1), [page])
    }
    guard case .stopped = error else {
      Issue.record("\(error)")
      return
    }
  }

  @Test func `success without data is seen by who has poisoned the memory`() throws {
    let bench = try Bench()
    defer { bench.model.stop() }
    let driver = try bench.driver()
    let page = try bench.allocate(.kibibytes(4))
    try page.write([UInt8](repeating: 0x5a, count: 4096))
    // An address that the model does not reach.
    try driver.execute(.identifyController, dataAt: .bus(BusAddress(0x1000)))
    #expect(try page.read(count: 4096) == [UInt8](repeating: 0x5a, count: 4096))
    try driver.shutDown()
  }

  @Test func `a controller that reports success but does not identify itself has not`() throws {
    let bench = try Bench(.identifying(nil))
    defer { bench.model.stop() }
    let driver = try bench.driver()
    let page = try bench.allocate(.kibibytes(4))
    for body in [
      { _ = try driver.identify(into: page) }, { _ = try driver.identify(1, into: page) },
    ] {
      let error = try #require(throws: NVMeError.self) { try body() }
      guard case .nothingArrived(bench.tree.address, "Identify", _) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(error.description.contains("reported success, but nothing arrived at bus 0x"))
    }
  }

  @Test func `an identity of nothing but zeros is none`() throws {
    let bench = try Bench(.identifying([UInt8](repeating: 0, count: 4096)))
    defer { bench.model.stop() }
    let driver = try bench.driver()
    let page = try bench.allocate(.kibibytes(4))
    let error = try #require(throws: NVMeError.self) { try driver.identify(into: page) }
    #expect(error.description.contains("completed a command wrongly"))
    // Of a namespace they say that it is not active.
    let inactive = try #require(throws: NVMeError.self) { try driver.identify(1, into: page) }
    #expect(inactive.description.contains("not active"))
  }

  @Test func `data in another device's memory has arrived before the controller hears of it`()
    throws
  {
    try FaultGuard.enable()
    let bench = try Bench()
    defer { bench.model.stop() }
    let driver = try bench.driver()
    let page = try bench.allocate(.kibibytes(4))
    let namespace = try driver.identify(1, into: page)
    try driver.openQueues()
    let peer = try bench.peer()
    let buffer = try peer.allocate(.kibibytes(8), for: .writeData, by: bench.tree.address)
    let end = try peer.allocate(.kibibytes(8), for: .writeData, by: bench.tree.address)
    try buffer.write([UInt8](repeating: 0x3c, count: 8192))
    try end.write([UInt8](repeating: 0x3c, count: 8192))
    let disk = bench.model.disk.withLock { $0 }
    // The other device stops answering at what the last of the data is in: who asks it learns that.
    let last = end.allocation.start - peer.memories[0].region.region.mapping.start
    let file = try FileDescriptor.open(
      bench.tree.path("/bus/pci/devices/\(bench.tree.addresses[1])/resource2"), .readWrite)
    try file.closeAfter { try file.resize(to: Int64((last + .kibibytes(4)).rawValue)) }
    for direction in [Driver.Direction.write, .read] {
      let error = try #require(throws: NVMeError.self) {
        try driver.move(direction, namespace, BlockAddress(0), count(32), [buffer, end])
      }
      guard case .fault = error else {
        Issue.record("\(error)")
        return
      }
    }
    #expect(bench.model.disk.withLock { $0 } == disk)
    try driver.shutDown()
  }

  @Test func `a list in the own buffer, away from its command, takes a controller that allows it`()
    throws
  {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let source = SysfsSource(root: tree.root)
    let controller = try NVMeController(at: tree.address, source: source)
    let half = try source.open(BARRequest(device: tree.address, bar: 2, size: .kibibytes(512)))
    let start = half.bus
    let model = try ModelController(tree, busStart: #require(start))
    defer { model.stop() }
    let own = try BufferPool(mapping: half, owner: tree.address)
    // Memory in the model's reach that is not known as its own.
    let other = try BufferPool(
      mapping: source.open(BARRequest(device: tree.address, bar: 2, offset: .kibibytes(512))))
    let driver = try Driver(
      controller, memory: .init(submissions: other, completions: other, lists: own))
    driver.patience = .milliseconds(300)
    let buffer = try other.allocate(.kibibytes(16), for: .readData, by: tree.address)
    let namespace = try driver.identify(1, into: buffer)
    try driver.openQueues()
    let available = own.pool.available
    let error = try #require(throws: NVMeError.self) {
      try driver.move(.read, namespace, BlockAddress(0), count(32), [buffer])
    }
    #expect(error.description.contains("CMBLOC.CDPCILS is clear"))
    #expect(own.pool.available == available)
    // Two pages take no list. With the bit, a list is fine as well.
    try driver.move(.read, namespace, BlockAddress(0), count(16), [buffer])
    try controller.store(2 | 1 << 6, at: 0x38)
    try driver.move(.read, namespace, BlockAddress(0), count(32), [buffer])
    #expect(
      try buffer.read(count: .kibibytes(16)) == model.disk.withLock { Array($0[..<16384]) })
    try driver.shutDown()
  }

  @Test func `a shutdown may take longer than becoming ready`() throws {
    let bench = try Bench(.slowToShutDown(.milliseconds(1600)))
    defer { bench.model.stop() }
    // CAP.TO 0.
    try bench.controller.registers.mapping.store(0x0000_07ff as UInt32, at: 0)
    let driver = try bench.driver()
    try driver.shutDown()
    #expect(try !bench.controller.state().configuration.isEnabled)
  }

  @Test(
    arguments: [
      (0, .seconds(5)), (4_000_000, .seconds(5)), (8_500_000, .milliseconds(8500)),
      (.max, .seconds(60)),
    ] as [(UInt32, Duration)])
  func `a shutdown is given what the controller asks for, 5 s to a minute`(
    _ latency: UInt32, _ patience: Duration
  ) throws {
    var identity = [UInt8](repeating: 0x20, count: 4096)
    for index in 0..<4 {
      identity[88 + index] = UInt8(truncatingIfNeeded: latency >> (8 * UInt32(index)))
    }
    let bench = try Bench(.identifying(identity))
    defer { bench.model.stop() }
    let driver = try bench.driver()
    let page = try bench.allocate(.kibibytes(4))
    #expect(driver.shutdownPatience == .seconds(5))
    _ = try driver.identify(into: page)
    #expect(driver.shutdownPatience == patience)
    try driver.shutDown()
  }

  @Test func `a driver that ends stops its controller before it gives the queues back`() throws {
    let bench = try Bench()
    defer { bench.model.stop() }
    do {
      let driver = try bench.driver()
      try driver.openQueues()
    }
    #expect(try !bench.controller.state().configuration.isEnabled)
    #expect(bench.pool.pool.available == .mebibytes(1))
  }

  @Test func `a controller that never becomes ready is an error, and keeps its queues`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let controller = try NVMeController(at: tree.address, source: SysfsSource(root: tree.root))
    // CAP.TO, which is 7.5 s: nobody waits for that here.
    try controller.registers.mapping.store(0x0001_07ff as UInt32, at: 0)
    let pool = try BufferPool(
      mapping: controller.open(.buffer).intoRange(), owner: tree.address)
    let error = try #require(throws: NVMeError.self) {
      _ = try Driver(controller, memory: .init(submissions: pool, completions: pool, lists: pool))
    }
    #expect(error.description.contains("enabling of \(tree.address): not within"))
    // It may start any moment, and then it writes to them.
    #expect(pool.pool.available == .mebibytes(1) - .kibibytes(8))
  }
}
