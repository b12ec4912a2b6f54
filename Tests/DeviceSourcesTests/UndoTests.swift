import DeviceEmulation
import DeviceFixtures
import DeviceMemory
import DeviceSources
import GenPool
import Glibc
import PCIDevices
import Synchronization
import SystemPackage
import Testing

/// Attaching changes a device; the last user changes it back.
@Suite struct UndoTests {
  private func request(
    _ tree: TemporaryTree, bar: BAR.Index = 2, page: UInt64? = nil
  ) -> BARRequest {
    BARRequest(
      device: tree.address, bar: bar, offset: .kibibytes(4 * (page ?? 0)),
      size: page == nil ? nil : .kibibytes(4), contents: bar == 0 ? .registers : .memory)
  }

  @Test func `a device is attached while a range of it is open, and as before afterwards`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let source = SysfsSource(root: tree.root)
    for _ in 0..<3 {
      do {
        let range = try source.open(request(tree))
        #expect(try tree.state() == .attached)
        #expect(try tree.openFiles() > 0)
        _ = range.size
      }
      #expect(try tree.state() == .untouched)
      #expect(try tree.openFiles() == 0)
    }
  }

  @Test func `what a device had before it has again`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M,driver=vfio-pci")
    try tree.write("driver_override", "vfio-pci\n")
    try tree.write("enable", "2\n")
    try tree.writeConfig(4, [0x06, 0x04])
    let before = try tree.state()
    do {
      let range = try SysfsSource(root: tree.root).open(request(tree))
      // Enabling is the bound driver's business.
      #expect(
        try tree.state()
          == DeviceState(enable: "2", override: "genpool", command: [0x06, 0x04]))
      _ = range.size
    }
    #expect(try tree.state() == before)
  }

  @Test func `bits that somebody set meanwhile are reset, others stay`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    do {
      let range = try SysfsSource(root: tree.root).open(request(tree))
      // Bus mastering, by a driver in user space; interrupts off, by anyone.
      try tree.writeConfig(4, [0x06, 0x04])
      _ = range.size
    }
    #expect(try tree.state() == DeviceState(enable: "0", override: "(null)", command: [0, 4]))
  }

  @Test(arguments: [nil, "vfio-pci", "uio_pci_generic"])
  func `bus mastering that was switched on is switched off, with a passive driver, too`(
    driver: String?
  ) throws {
    let tree = try TemporaryTree("nvme,cmb=1M" + (driver.map { ",driver=\($0)" } ?? ""))
    // Memory space alone is on.
    try tree.writeConfig(4, [2, 0])
    let source = SysfsSource(root: tree.root)
    for _ in 0..<2 {
      do {
        let range = try source.open(request(tree))
        try source.enableBusMastering(of: tree.address)
        try source.enableBusMastering(of: tree.address)
        #expect(try tree.read("config")[4] == 6)
        _ = range.size
      }
      #expect(try tree.read("config")[4] == 2)
    }
  }

  @Test func `bus mastering ends with who switched it on, whoever stays, and stays if it was on`()
    throws
  {
    let tree = try TemporaryTree("nvme,cmb=1M,driver=uio_pci_generic")
    let (first, second) = (SysfsSource(root: tree.root), SysfsSource(root: tree.root))
    let registers = try first.open(request(tree, bar: 0))
    do {
      let memory = try second.open(request(tree))
      try second.enableBusMastering(of: tree.address)
      #expect(try tree.read("config")[4] == 6)
      _ = memory.size
    }
    #expect(try tree.read("config")[4] == 2)
    try tree.writeConfig(4, [6, 0])
    do {
      let memory = try second.open(request(tree))
      try second.enableBusMastering(of: tree.address)
      _ = memory.size
    }
    #expect(try tree.read("config")[4] == 6, "it was not switched on here")
    _ = registers.size
  }

  @Test func `a device that somebody else enabled meanwhile stays enabled`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    do {
      let range = try SysfsSource(root: tree.root).open(request(tree))
      try tree.write("enable", "2\n")
      _ = range.size
    }
    #expect(try tree.state() == DeviceState(enable: "1", override: "(null)", command: [2, 0]))
  }

  @Test func `an override that somebody else set meanwhile stays`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    do {
      let range = try SysfsSource(root: tree.root).open(request(tree))
      try tree.write("driver_override", "vfio-pci\n")
      _ = range.size
    }
    #expect(try tree.text("driver_override") == "vfio-pci")
  }

  @Test func `ranges of one device share what was done to it`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let source = SysfsSource(root: tree.root)
    do {
      let registers = try source.open(request(tree, bar: 0))
      do {
        let first = try source.open(request(tree, page: 0))
        let second = try source.open(request(tree, page: 1))
        #expect(try tree.state() == .attached)
        _ = (first.size, second.size)
      }
      #expect(try tree.state() == .attached, "still one left")
      _ = registers.size
    }
    #expect(try tree.state() == .untouched)
    #expect(try tree.openFiles() == 0)
  }

  @Test func `the last of two sources undoes it, whoever came first`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let (first, second) = (SysfsSource(root: tree.root), SysfsSource(root: tree.root))
    do {
      let buffer: DeviceRange
      do {
        let registers = try first.open(request(tree, bar: 0))
        buffer = try second.open(request(tree))
        #expect(
          try tree.state() == DeviceState(enable: "2", override: "genpool", command: [2, 0]))
        _ = registers.size
      }
      #expect(try tree.state() == .attached)
      _ = buffer.size
    }
    // Only the first one knew that memory space had been off.
    #expect(try tree.state() == DeviceState(enable: "0", override: "(null)", command: [2, 0]))
  }

  @Test func `what a crashed process left is taken over`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    try tree.write("enable", "1\n")
    try tree.write("driver_override", "genpool\n")
    try tree.writeConfig(4, [2, 0])
    do {
      let range = try SysfsSource(root: tree.root).open(request(tree))
      #expect(try tree.state() == .attached)
      _ = range.size
    }
    #expect(try tree.state() == DeviceState(enable: "0", override: "(null)", command: [2, 0]))
  }

  @Test func `a device without override and enable is opened all the same`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    tree.remove("enable")
    tree.remove("driver_override")
    do {
      let range = try SysfsSource(root: tree.root).open(request(tree))
      #expect(try tree.read("config")[4] == 2)
      _ = range.size
    }
    #expect(try tree.read("config")[4] == 0)
    #expect(try tree.openFiles() == 0)
  }

  // MARK: Failures

  struct Failure: CustomTestStringConvertible, Sendable {
    /// What is in the way.
    let testDescription: String
    /// What the error says of it.
    let complaint: String
    let apply: @Sendable (TemporaryTree) throws -> Void

    init(
      _ complaint: String, _ description: String,
      _ apply: @escaping @Sendable (TemporaryTree) throws -> Void
    ) {
      self.complaint = complaint
      testDescription = description
      self.apply = apply
    }
  }

  static let failures: [Failure] = [
    Failure("open resource2 of 0000:01:00.0", "a BAR's file is a link") {
      try $0.link("resource2", to: "resource0")
    },
    Failure("it is not a regular file", "a BAR's file is a FIFO") { try $0.makeFIFO("resource2") },
    Failure("open resource2 of 0000:01:00.0: is a directory", "a BAR's file is a directory") {
      try $0.makeDirectory("resource2")
    },
    Failure("it has 4096 bytes, less than the BAR's 1048576", "a BAR's file is too short") {
      try $0.write("resource2", [UInt8](repeating: 0, count: 4096))
    },
    Failure("it is not a regular file", "a write-combining file is a FIFO") {
      try $0.makeFIFO("resource2_wc")
    },
    Failure("driver_override of 0000:01:00.0", "the override is a directory") {
      try $0.makeDirectory("driver_override")
    },
    Failure("\"nonsense\" is not a count", "the count is none") {
      try $0.write("enable", "nonsense\n")
    },
    Failure("\"99999999999999999999\" is not a count", "the count is too high") {
      try $0.write("enable", "99999999999999999999\n")
    },
    Failure("enable of 0000:01:00.0", "the count is a directory") {
      try $0.makeDirectory("enable")
    },
  ]

  @Test(arguments: failures)
  func `what fails changes nothing and leaves nothing open`(failure: Failure) throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    try failure.apply(tree)
    let before = (
      try? tree.text("enable"), try? tree.text("driver_override"), try tree.read("config")
    )
    let source = SysfsSource(root: tree.root)
    let error = try #require(throws: DeviceError.self) { _ = try source.open(request(tree)) }
    #expect(error.description.contains(failure.complaint), "\(error)")
    #expect((try? tree.text("enable")) == before.0)
    #expect((try? tree.text("driver_override")) == before.1)
    #expect(try tree.read("config") == before.2)
    #expect(try tree.openFiles() == 0)
  }

  @Test func `whoever can only read the device's files gets in nobody's way`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    do {
      let config = try FileDescriptor.open(tree.path("config"), .readOnly)
      defer { try? config.close() }
      try #require(flock(config.rawValue, LOCK_EX) == 0)
      let directory = try FileDescriptor.open(
        tree.path("config").removingLastComponent(), .readOnly)
      defer { try? directory.close() }
      try #require(flock(directory.rawValue, LOCK_EX) == 0)
      let range = try SysfsSource(root: tree.root).open(request(tree))
      #expect(try tree.state() == .attached)
      _ = range.size
    }
    #expect(try tree.state() == .untouched)
  }

  @Test func `a failure leaves other ranges of the device alone`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let source = SysfsSource(root: tree.root)
    let registers = try source.open(request(tree, bar: 0))
    let open = try tree.openFiles()
    try tree.makeFIFO("resource2_wc")
    #expect(throws: DeviceError.self) { _ = try source.open(request(tree)) }
    #expect(try tree.state() == .attached)
    #expect(try tree.openFiles() == open)
    _ = registers.size
  }

  @Test func `a driver that binds while a device is attached is found out, and all is undone`()
    throws
  {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let asked = Mutex(0)
    let binding = AttachRule("late") { _ in
      // The rules are asked a second time when the device cannot be bound any more.
      asked.withLock { $0 += 1 }
      return asked.withLock { $0 } == 2 ? "a driver was quicker" : nil
    } cure: { _ in
      "nothing"
    }
    let source = SysfsSource(root: tree.root, rules: AttachRule.sysfs + [binding])
    let error = try #require(throws: DeviceError.self) { _ = try source.open(request(tree)) }
    #expect(error.description.contains("a driver was quicker [late]"))
    #expect(try tree.state() == .untouched)
    #expect(try tree.openFiles() == 0)
    #expect(asked.withLock { $0 } == 2)
  }
}
