import DeviceEmulation
import DeviceEvents
import DeviceFixtures
import GenPool
import Glibc
import LinuxSystem
import PCIDevices
import Reference
import Synchronization
import SystemPackage
import Testing

@Suite struct TreeWatchTests {
  private static let bus = "/bus/pci/devices"

  @Test func `a device that is plugged in is added, one that is pulled out is removed`() throws {
    let tree = try TemporaryTree("nvme,cmb=64M")
    let watch = try TreeWatch(root: tree.root)
    #expect(try watch.collect() == [], "what was there before is no news")

    let address = try tree.tree.add(.parse("ivshmem,size=16M,group=4,driver=vfio-pci"))
    #expect(try watch.collect() == [.added(address)])
    try tree.tree.remove(address)
    #expect(try watch.collect() == [.removed(address)])
    try tree.tree.remove(tree.address)
    #expect(try watch.collect() == [.removed(tree.address)])
  }

  @Test func `another device at the same address is told as a removal and an addition`() throws {
    let tree = try TemporaryTree("memory,size=4M,address=0000:07:00.0")
    let watch = try TreeWatch(root: tree.root)
    try tree.tree.remove(tree.address)
    try tree.tree.add(.parse("memory,size=8M,address=0000:07:00.0"))
    #expect(try watch.collect() == [.removed(tree.address), .added(tree.address)])
  }

  @Test func `a domain wider than 16 bits is told like any other`() throws {
    let tree = try TemporaryTree()
    let watch = try TreeWatch(root: tree.root)
    let address = try tree.tree.add(.parse("memory,address=10000:e1:00.0"))
    #expect(try watch.collect() == [.added(address)])
  }

  @Test func `many devices at once are told in order, each once`() throws {
    let tree = try TemporaryTree()
    let watch = try TreeWatch(root: tree.root)
    let added = try (0..<12).map { _ in try tree.tree.add(.parse("memory,size=4K")) }
    var random = SplitMix64(seed: 7)
    let removed = added.shuffled(using: &random)
    for address in removed { try tree.tree.remove(address) }
    #expect(
      try watch.collect()
        == added.map { DeviceEvent.added($0) } + removed.map { DeviceEvent.removed($0) })
  }

  @Test func `a device is whole when it is told of`() async throws {
    let tree = try TemporaryTree()
    let watch = try TreeWatch(root: tree.root)
    let device = try EmulatedDevice.parse("nvme,cmb=1M,group=2,driver=vfio-pci,node=1")
    let rounds = 20
    let place = tree.tree
    let added = Atomic(0)
    async let writing: Void = Task.detached {
      for round in 1...rounds {
        let address = try place.add(device)
        // Every other time as long as it takes to be read, else from not at all to a little.
        if round.isMultiple(of: 2) {
          let deadline = ContinuousClock.now + .seconds(10)
          while added.load(ordering: .acquiring) < round, ContinuousClock.now < deadline {
            try await Task.sleep(for: .microseconds(200))
          }
        } else {
          try await Task.sleep(for: .microseconds(round * 200))
        }
        try place.remove(address)
      }
    }.value
    var told = 0
    var read = 0
    let deadline = ContinuousClock.now + .seconds(300)
    while told < 2 * rounds, ContinuousClock.now < deadline {
      try await Task.sleep(for: .microseconds(200))
      var news: [DeviceEvent] = []
      try watch.drain { news.append($0) }
      told += news.count
      for (number, event) in news.enumerated() {
        guard case .added(let address) = event else { continue }
        defer { added.add(1, ordering: .releasing) }
        let found = Result { () throws(DeviceError) in
          try DeviceTree(root: tree.root).device(at: address)
        }
        // Gone by now? Then any of its files may be. Its link went first, and that is told.
        guard number == news.count - 1, !watch.isReadable() else { continue }
        read += 1
        let device = try found.get()
        #expect(device.bars.map(\.size) == [.kibibytes(16), .mebibytes(1)])
        #expect(device.driver == "vfio-pci" && device.iommuGroup?.number == 2)
        #expect(device.iommuGroup?.members.map(\.address) == [address])
        #expect(device.numaNode == NUMANode(1) && device.powerState == .d0)
      }
    }
    try await writing
    #expect(told == 2 * rounds)
    #expect(read >= rounds / 2)
  }

  @Test func `names that are no addresses are ignored`() throws {
    let tree = try TemporaryTree()
    let watch = try TreeWatch(root: tree.root)
    let names = [
      "README", "0000:01:00", "01:00.0", "0000:01:00.8", "0000:AB:00.0", "00000:01:00.0",
      "0000:01:00.0 ", "0000:01:00.0.1", "-1:00:00.0", "\u{1f50c}",
      String(repeating: "x", count: 255),
    ]
    for name in names { try tree.write("\(Self.bus)/\(name)", "") }
    for name in names { tree.remove("\(Self.bus)/\(name)") }
    #expect(watch.isReadable())
    #expect(try watch.collect() == [])
    let address = try tree.tree.add(.parse("memory"))
    #expect(try watch.collect() == [.added(address)])
  }

  @Test func `what is renamed into the bus is added, what is renamed out of it removed`() throws {
    let tree = try TemporaryTree("memory,address=0000:01:00.0")
    let watch = try TreeWatch(root: tree.root)
    let other = try #require(PCIAddress("0000:02:00.0"))
    try tree.move("\(Self.bus)/0000:01:00.0", to: "/elsewhere")
    try tree.move("/elsewhere", to: "\(Self.bus)/0000:02:00.0")
    try tree.move("\(Self.bus)/0000:02:00.0", to: "\(Self.bus)/0000:01:00.0")
    #expect(
      try watch.collect() == [
        .removed(tree.address), .added(other), .removed(other), .added(tree.address),
      ])
  }

  @Test func `a drain takes a bounded number of events, the descriptor tells of the rest`() throws {
    let tree = try TemporaryTree()
    let watch = try TreeWatch(root: tree.root)
    let directory = tree.path(Self.bus).string
    let addresses = try (0..<5000).map { try #require(PCIAddress.numbered($0)) }
    for address in addresses { #expect(unsafe symlink("nowhere", "\(directory)/\(address)") == 0) }
    var first: [DeviceEvent] = []
    try watch.drain { first.append($0) }
    #expect(first.count < 5000 && watch.isReadable())
    let all = try first + watch.collect()
    #expect(all == addresses.map { .added($0) })
  }

  @Test func `a drain with nothing to tell returns at once`() throws {
    let tree = try TemporaryTree()
    let watch = try TreeWatch(root: tree.root)
    #expect(!watch.isReadable())
    try watch.drain { Issue.record("\($0) out of nothing") }
    #expect(fcntl(watch.descriptor, F_GETFD) & FD_CLOEXEC != 0)
  }

  @Test func `a watch that ends is closed`() throws {
    let tree = try TemporaryTree()
    // More than one user may have by default: 128.
    for _ in 0..<300 { _ = try TreeWatch(root: tree.root) }
  }

  // MARK: Overrun

  /// How many events the kernel keeps for a watch, and more is no problem to make.
  private static var queueLength: Int? {
    let node = SysfsNode(path: "/proc/sys/fs/inotify/max_queued_events")
    return (try? node.attribute()).flatMap { $0.lines.first.flatMap { Int($0) } }.flatMap {
      $0 <= 200_000 ? $0 : nil
    }
  }

  /// Plugs a device in and out until the kernel has no room for more, without anybody reading.
  private func overflow(_ tree: TemporaryTree) throws {
    let path = tree.path("\(Self.bus)/0000:42:00.0").string
    for _ in 0...(try #require(Self.queueLength) / 2) {
      #expect(unsafe symlink("nowhere", path) == 0)
      #expect(unsafe unlink(path) == 0)
    }
  }

  @Test(.enabled(if: queueLength != nil, "max_queued_events of inotify is above 200,000 here"))
  func `too many events are told as an overrun, after those that were kept`() throws {
    let tree = try TemporaryTree()
    let watch = try TreeWatch(root: tree.root)
    try overflow(tree)
    let lost = try tree.tree.add(.parse("memory"))
    let events = try watch.collect()
    #expect(events.last == .overrun)
    #expect(events.count { $0 == .overrun } == 1)
    #expect(!events.contains(.added(lost)))
    // The tree says what the events did not.
    #expect(try DeviceTree(root: tree.root).list().devices.map(\.address) == [lost])
    try tree.tree.remove(lost)
    #expect(try watch.collect() == [.removed(lost)], "what happens after the gap is told")
  }

  @Test(.enabled(if: queueLength != nil, "max_queued_events of inotify is above 200,000 here"))
  func `a tree that ends while events are lost does not go unnoticed`() throws {
    let tree = try TemporaryTree()
    let watch = try TreeWatch(root: tree.root)
    try overflow(tree)
    tree.remove("/")
    var last: DeviceEvent?
    let error = #expect(throws: SystemError.self) {
      while watch.isReadable() { try watch.drain { last = $0 } }
    }
    #expect(last == .overrun)
    #expect(error?.errno == .noSuchFileOrDirectory)
  }

  // MARK: The end

  @Test func `a tree that is removed is an error, after the removal of its devices`() throws {
    let tree = try TemporaryTree("memory", "nvme,cmb=64M")
    let watch = try TreeWatch(root: tree.root)
    tree.remove("/")
    var events: [DeviceEvent] = []
    let error = try #require(throws: SystemError.self) {
      try watch.drain { events.append($0) }
    }
    #expect(Set(events) == Set(tree.addresses.map { .removed($0) }) && events.count == 2)
    #expect(error.errno == .noSuchFileOrDirectory)
    #expect(error.description.hasSuffix("(the emulated tree was removed or moved away)"))
    #expect(throws: error) { try watch.drain { Issue.record("\($0) after the end") } }
  }

  @Test(arguments: ["/", "/bus", "/bus/pci/devices"])
  func `a tree that is moved away is an error`(part: String) throws {
    let tree = try TemporaryTree("memory")
    let watch = try TreeWatch(root: tree.root)
    let away = tree.root.path.removingLastComponent().appending("away")
    let path = part == "/" ? tree.root.path : tree.path(part)
    #expect(unsafe rename(path.string, away.string) == 0)
    #expect(throws: SystemError.self) { try watch.drain { Issue.record("\($0) of another tree") } }
    #expect(unsafe rename(away.string, path.string) == 0)
  }

  @Test func `a directory that is no tree cannot be watched`() throws {
    let error = #expect(throws: SystemError.self) { try TreeWatch(root: SysfsRoot("/nowhere")) }
    #expect(error?.description == "watch /nowhere: no such file or directory")
    let tree = try TemporaryTree()
    tree.remove("/bus/pci/devices")
    try tree.write("/bus/pci/devices", "a file")
    #expect(
      #expect(throws: SystemError.self) { try TreeWatch(root: tree.root) }?.errno
        == .notDirectory)
  }
}
