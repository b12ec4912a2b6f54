import DeviceMemory
import GenPool
import Glibc
import LinuxFixtures
import LinuxSystem
import SystemPackage
import Testing

struct MappingTests {
  static let page: UInt64 = 4096

  // MARK: Placement

  @Test(arguments: (12...26).map { ByteCount(1 << UInt64($0)) })
  func `a mapping lies as its physical address does, modulo every power of two up to its size`(
    size: ByteCount
  ) throws {
    let file = try MemoryFile(size: size * 2)
    for extra in [0, 1, Self.page, size.rawValue / 2, size.rawValue - 1].map(ByteCount.init(_:)) {
      for odd in [1, 3, 5, 0x7f, 0xffff] as [UInt64] {
        let physical = PhysicalAddress(0x40_0000_0000 + odd * Self.page)
        let mapping = try Mapping(mapping: file.range(size: size + extra, physical: physical))
        #expect(mapping.size == size + extra)
        #expect(mapping.start.rawValue % size.rawValue == physical.rawValue % size.rawValue)
        #expect(alignmentsDiffer(mapping.start, physical, upTo: size) == nil)
      }
    }
  }

  /// The first power of two and offset for which one address is aligned and the other is not.
  private func alignmentsDiffer(
    _ start: VirtualAddress, _ physical: PhysicalAddress, upTo size: ByteCount
  ) -> (alignment: ByteCount, offset: ByteCount)? {
    var alignment: ByteCount = 1
    while alignment <= size {
      let stride = max(size.rawValue / 64, 1)
      for offset in Swift.stride(from: 0, to: size.rawValue, by: Int(stride)).map(
        ByteCount.init(_:))
      where (start + offset).isAligned(to: alignment)
        != (physical + offset).isAligned(to: alignment)
      {
        return (alignment, offset)
      }
      alignment = alignment * 2
    }
    return nil
  }

  @Test func `placement is exact up to 1 GiB and no further`() throws {
    let file = try MemoryFile(size: .gibibytes(4))
    let physical = PhysicalAddress(0x12_3456_7000)
    let mapping = try Mapping(mapping: file.range(size: .gibibytes(4), physical: physical))
    #expect(mapping.start.rawValue % (1 << 30) == physical.rawValue % (1 << 30))
  }

  @Test func `without a physical address the offset takes its place`() throws {
    let file = try MemoryFile(size: .mebibytes(3))
    let mapping = try Mapping(mapping: file.range(at: .kibibytes(516), size: .mebibytes(2)))
    #expect(mapping.start.rawValue % (2 << 20) == 516 << 10)
  }

  @Test func `an offset and a size inside pages are honoured to the byte`() throws {
    let file = try MemoryFile(size: .kibibytes(16))
    try file.put([0xa5], at: 0x1ffd)
    try file.put([0x5a], at: 0x2ffb)
    let range = try file.range(
      at: 0x1ffd, size: 0xfff, physical: PhysicalAddress(0xfebf_0ffd))
    let mapping = try Mapping(mapping: range)
    #expect(mapping.start.rawValue % Self.page == 0xffd)
    #expect(mapping.size == 0xfff)
    #expect(try mapping.load(UInt8.self, at: 0) == 0xa5)
    #expect(try mapping.load(UInt8.self, at: 0xffe) == 0x5a)
    #expect(throws: DeviceFault.self) { try mapping.load(UInt8.self, at: 0xfff) }
  }

  @Test func `many threads find their places at once`() async throws {
    try await withThrowingTaskGroup { group in
      for thread in 0..<8 {
        group.addTask {
          let file = try MemoryFile(size: .mebibytes(1))
          for round in 0..<100 {
            let physical = PhysicalAddress(UInt64(thread * 100 + round) * 3 * Self.page)
            let mapping = try Mapping(mapping: file.range(size: .mebibytes(1), physical: physical))
            #expect(mapping.start.rawValue % (1 << 20) == physical.rawValue % (1 << 20))
          }
          #expect(file.mappings == 0)
        }
      }
      try await group.waitForAll()
    }
  }

  // MARK: Ownership

  @Test func `a mapping is made once and undone once`() throws {
    let file = try MemoryFile(size: .mebibytes(1))
    do {
      let mapping = try Mapping(mapping: file.range(size: .mebibytes(1)))
      #expect(file.mappings == 1)
      _ = mapping.size
    }
    #expect(file.mappings == 0)
  }

  @Test func `placing a mapping leaves no addresses behind, refused or not`() async {
    await #expect(processExitsWith: .exitCode(42)) {
      let file = try MemoryFile(size: .mebibytes(64))
      let before = addressSpace()
      for round in 1...100 as ClosedRange<UInt64> {
        let physical = PhysicalAddress(round * 0x7_1000)
        _ = try file.region(size: .mebibytes(64), physical: physical)
        do {
          _ = try Mapping(mapping: unmappable(size: .mebibytes(64)))
          _exit(1)
        } catch {}
      }
      exit(addressSpace() < before + .mebibytes(64) ? 42 : 2)
    }
  }

  @Test func `forked children and core dumps do not get the memory`() throws {
    let file = try MemoryFile(size: .kibibytes(64))
    let mapping = try Mapping(mapping: file.range(size: .kibibytes(64)))
    let smaps = lines(of: "/proc/self/smaps")
    let start = String(mapping.start.rawValue, radix: 16) + "-"
    let entry = try #require(smaps.firstIndex { $0.hasPrefix(start) })
    let flags = try #require(smaps[entry...].first { $0.hasPrefix("VmFlags:") })
    #expect(flags.split(separator: " ").contains("dc"), "do not copy on fork")
    #expect(flags.split(separator: " ").contains("dd"), "do not dump")
    #expect(flags.split(separator: " ").contains("sh"), "shared")
  }

  @Test func `a forked child ends its copy of a mapping without unmapping what is there now`()
    async
  {
    await #expect(processExitsWith: .exitCode(42)) {
      let file = try MemoryFile(size: 4096)
      let region = try file.region(size: 4096)
      let child = forkProcess()
      guard child == 0 else { _exit(status(of: child)) }
      guard file.mappings == 0 else { _exit(1) }
      let start = unsafe UnsafeMutableRawPointer(bitPattern: UInt(region.mapping.start.rawValue))
      let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED
      let other = unsafe mmap(start, 4096, PROT_READ | PROT_WRITE, flags, -1, 0)
      guard unsafe other == start else { _exit(2) }
      end(region)
      // Were it unmapped, this would be a segmentation fault.
      unsafe start?.storeBytes(of: 1, as: UInt8.self)
      _exit(42)
    }
  }

  // MARK: Refusals

  @Test func `a range of no bytes is refused`() throws {
    let file = try MemoryFile(size: .kibibytes(4))
    try expectRefusal(of: file.range(size: 0), .invalidArgument)
  }

  @Test func `a range past the end of all descriptors is refused`() throws {
    let file = try MemoryFile(size: .kibibytes(4))
    try expectRefusal(of: file.range(size: ByteCount(UInt64.max)), .overflow)
    try expectRefusal(of: file.range(size: ByteCount(UInt64(Int.max))), .overflow)
    try expectRefusal(of: file.range(at: ByteCount(UInt64.max), size: 1), .overflow)
    try expectRefusal(of: file.range(at: ByteCount(UInt64.max - 4095), size: 4096), .overflow)
    try expectRefusal(of: file.range(at: ByteCount(UInt64(Int64.max) - 1), size: 2), .overflow)
  }

  @Test func `more than the address space is refused as no memory`() throws {
    let file = try MemoryFile(size: .kibibytes(4))
    try expectRefusal(of: file.range(size: .gibibytes(1 << 20)), .noMemory)
  }

  @Test func `an offset that contradicts the physical address is refused`() throws {
    let file = try MemoryFile(size: .kibibytes(8))
    try expectRefusal(
      of: file.range(size: .kibibytes(4), physical: PhysicalAddress(0x1100)), .invalidArgument)
  }

  @Test func `a descriptor for reading only is refused`() throws {
    let descriptor = unsafe open("/proc/self/exe", O_RDONLY | O_CLOEXEC)
    try #require(descriptor >= 0)
    try expectRefusal(of: range(of: Descriptor(owning: descriptor)), .permissionDenied)
  }

  @Test func `what cannot be mapped is refused, and closed`() throws {
    let pipe = try Pipe()
    let ended = Counter()
    let range = range(of: pipe.writer(), attachment: Attachment { ended.increment() })
    do {
      _ = try Region(mapping: range)
      Issue.record("a pipe was mapped")
    } catch {
      #expect(
        error.description == "map a pipe: permission denied "
          + "(the descriptor must be open for reading and writing)")
    }
    #expect(pipe.isClosed())
    #expect(ended.value == 1)
  }

  private func range(
    of descriptor: consuming Descriptor, attachment: Attachment? = nil
  ) -> DeviceRange {
    DeviceRange(
      descriptor: descriptor, mapOffset: 0, size: 4096, physical: nil, bus: nil,
      caching: .uncached, isolation: .range, label: "a pipe", attachment: attachment)
  }

  private func expectRefusal(
    of range: consuming DeviceRange, _ errno: Errno, at location: SourceLocation = #_sourceLocation
  ) throws {
    do {
      _ = try Mapping(mapping: range)
      Issue.record("the range was mapped", sourceLocation: location)
    } catch {
      #expect(error.errno == errno, sourceLocation: location)
      #expect(error.operation == "map", sourceLocation: location)
    }
  }
}

/// A range of /proc/self/mem, which opens for reading and writing but does not map.
private func unmappable(size: ByteCount) -> DeviceRange {
  let descriptor = unsafe open("/proc/self/mem", O_RDWR | O_CLOEXEC)
  return DeviceRange(
    descriptor: Descriptor(owning: descriptor), mapOffset: 0x1000, size: size, physical: nil,
    bus: nil, caching: .uncached, isolation: .range, label: "/proc/self/mem")
}

/// How much address space this process uses.
private func addressSpace() -> ByteCount {
  let pages = lines(of: "/proc/self/statm").first?.split(separator: " ").first
  return ByteCount(pages.flatMap { UInt64($0) } ?? 0) * 4096
}

private func end(_ region: consuming Region) {}

/// fork(), which Swift hides and the loader does not; -1 on failure.
private func forkProcess() -> pid_t {
  guard let symbol = unsafe dlsym(nil, "fork") else { return -1 }
  return unsafe unsafeBitCast(symbol, to: (@convention(c) () -> pid_t).self)()
}

/// How a child ended: its exit status, or 128 and the signal as shells have it.
private func status(of child: pid_t) -> CInt {
  var status: CInt = 0
  while unsafe waitpid(child, &status, 0) < 0 && errno == EINTR {}
  return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
}
