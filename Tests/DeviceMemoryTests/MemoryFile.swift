import DeviceMemory
import GenPool
import Glibc
import LinuxSystem
import Synchronization
import SystemPackage

/// A sparse file that stands in for a BAR. Its name is gone at once, but /proc still shows it.
final class MemoryFile: Sendable {
  let descriptor: Descriptor
  let name: String

  private static let count = Atomic<Int>(0)

  init(size: ByteCount) throws {
    name = "/tmp/genpool-test-\(getpid())-\(Self.count.add(1, ordering: .relaxed).newValue)"
    descriptor = try Self.create(name)
    try resize(to: size)
  }

  private static func create(_ name: String) throws -> Descriptor {
    let opened = unsafe open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard opened >= 0 else { throw Errno(rawValue: errno) }
    unsafe unlink(name)
    return Descriptor(owning: opened)
  }

  func resize(to size: ByteCount) throws {
    guard ftruncate(descriptor.rawValue, Int(size.rawValue)) == 0 else {
      throw Errno(rawValue: errno)
    }
  }

  /// What is in the file, read without any mapping.
  func bytes(at offset: ByteCount, count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let read = unsafe pread(descriptor.rawValue, &bytes, count, Int(offset.rawValue))
    guard read >= 0 else { throw Errno(rawValue: errno) }
    return Array(bytes.prefix(read))
  }

  /// Puts `bytes` into the file without any mapping.
  func put(_ bytes: [UInt8], at offset: ByteCount) throws {
    guard
      unsafe pwrite(descriptor.rawValue, bytes, bytes.count, Int(offset.rawValue)) == bytes.count
    else { throw Errno(rawValue: errno) }
  }

  /// `size` bytes of the file at `offset`, under a descriptor of their own.
  func range(
    at offset: ByteCount = 0, size: ByteCount, physical: PhysicalAddress? = nil,
    bus: BusAddress? = nil, attachment: (any AnyObject & Sendable)? = nil
  ) throws -> DeviceRange {
    DeviceRange(
      descriptor: try descriptor.duplicate(), mapOffset: offset, size: size, physical: physical,
      bus: bus, caching: .cached, isolation: .range, label: "BAR 2 of 0000:01:00.0",
      attachment: attachment)
  }

  func region(
    at offset: ByteCount = 0, size: ByteCount, physical: PhysicalAddress? = nil
  ) throws -> Region {
    try Region(mapping: range(at: offset, size: size, physical: physical))
  }

  /// How many mappings of the file this process has.
  var mappings: Int { Self.mappings(of: name) }

  static func mappings(of name: String) -> Int {
    lines(of: "/proc/self/maps").count { $0.contains(" \(name) (deleted)") }
  }

  /// Whether `number` is a descriptor of the file of that name.
  static func isOpen(_ number: CInt, name: String) -> Bool {
    var target = [CChar](repeating: 0, count: 256)
    let length = unsafe readlink("/proc/self/fd/\(number)", &target, target.count)
    let text = target.prefix(max(length, 0)).map { UInt8(bitPattern: $0) }
    return String(decoding: text, as: UTF8.self) == "\(name) (deleted)"
  }
}

/// The lines of a file, of /proc above all; none if it cannot be read.
func lines(of path: String) -> [String] {
  guard let file = unsafe fopen(path, "re") else { return [] }
  defer { unsafe fclose(file) }
  var lines: [String] = []
  var line: UnsafeMutablePointer<CChar>?
  var capacity = 0
  while unsafe getline(&line, &capacity, file) > 0 {
    if let line = unsafe line { unsafe lines.append(String(cString: line)) }
  }
  unsafe free(line)
  return lines
}

/// Calls back at its end.
final class Attachment: Sendable {
  private let atEnd: @Sendable () -> Void

  init(atEnd: @escaping @Sendable () -> Void) {
    self.atEnd = atEnd
  }

  deinit {
    atEnd()
  }
}

/// A number that threads share.
final class Counter: Sendable {
  private let count = Atomic<Int>(0)

  var value: Int {
    get { count.load(ordering: .relaxed) }
    set { count.store(newValue, ordering: .relaxed) }
  }

  func increment() { count.add(1, ordering: .relaxed) }
}
