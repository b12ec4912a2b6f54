package import DeviceEmulation
import Glibc
package import PCIDevices
package import SystemPackage

/// An emulated tree in a temporary directory, to be read or to be damaged; gone with this object.
package final class TemporaryTree: Sendable {
  /// Where it is, for the code under test.
  package let root: SysfsRoot
  /// The tree, to plug devices in and out.
  package let tree: EmulatedTree
  /// Where the devices are, in the order in which they were given.
  package let addresses: [PCIAddress]

  private let path: FilePath

  /// A tree of devices as `genpoolctl emulate` takes them: `nvme,cmb=64M`.
  package convenience init(_ devices: String...) throws {
    try self.init(devices.map { try EmulatedDevice.parse($0) })
  }

  /// A tree of any devices.
  package init(_ devices: [EmulatedDevice]) throws {
    let path = try Self.makeDirectory()
    do {
      let tree = try EmulatedTree.create(at: path.appending("sys"), devices: [])
      addresses = try devices.map { try tree.add($0) }
      self.tree = tree
    } catch {
      // What is not fully made has no deinit.
      Self.removeAll(path)
      throw error
    }
    self.path = path
    root = tree.root
  }

  deinit { Self.removeAll(path) }

  /// A directory of its own, to be removed by the caller.
  package static func makeDirectory() throws -> FilePath {
    // Thousands of small files: in memory where that is possible.
    let parent = unsafe access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp"
    var template = Array("\(parent)/genpool-test-XXXXXX".utf8CString)
    guard unsafe mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
    return FilePath(String(decoding: template.dropLast().map { UInt8($0) }, as: UTF8.self))
  }

  /// Removes `path` and all below it, following no link.
  package static func removeAll(_ path: FilePath) { removeAll(path.string) }

  private static func removeAll(_ path: String) {
    if unsafe unlink(path) == 0 { return }
    for name in (try? SysfsNode(path: path).entries()) ?? [] { removeAll(path + "/" + name) }
    unsafe rmdir(path)
  }

  /// The only device's address, the first of several.
  package var address: PCIAddress { addresses[0] }

  /// A path below the root: of `name` in the first device's directory, unless it starts with `/`.
  package func path(_ name: String) -> FilePath {
    name.hasPrefix("/")
      ? root.path.appending(String(name.dropFirst()))
      : root.path.appending("bus/pci/devices/\(address)").appending(name)
  }

  // MARK: Damage

  /// Replaces or makes a file; missing directories above it as well. Not the content of a FIFO.
  package func write(_ name: String, _ content: [UInt8]) throws {
    try makeDirectories(path(name).removingLastComponent())
    let file = try FileDescriptor.open(
      path(name), .writeOnly, options: [.create, .truncate, .nonBlocking],
      permissions: FilePermissions(rawValue: 0o644))
    try file.closeAfter { _ = try file.writeAll(content) }
  }

  /// Replaces or makes a text file.
  package func write(_ name: String, _ text: String) throws {
    try write(name, Array(text.utf8))
  }

  /// Replaces line `number`, from 1, of a text file.
  package func write(_ name: String, line number: Int, _ text: String) throws {
    var lines = try String(decoding: read(name), as: UTF8.self)
      .split(separator: "\n", omittingEmptySubsequences: false).map { String($0) }
    lines[number - 1] = text
    try write(name, lines.joined(separator: "\n"))
  }

  /// Makes BAR 2 of the first device one that is not prefetchable, and that has no write-combining file.
  package func setNotPrefetchable() throws {
    // IORESOURCE_PREFETCH and the register's own bit.
    let row = try text("resource").split(separator: "\n")[2]
    try write("resource", line: 3, String(row.replacing("14220c", with: "140204")))
    remove("resource2_wc")
  }

  /// Gives the first device a capability of MSI-X: a table of 8 interrupts in BAR `bar`, from
  /// `table` bytes on, and its pending bits 128 bytes behind.
  package func addMessageInterrupts(bar: UInt32, table: UInt32) throws {
    // STATUS: a list of capabilities, which begins at 40h.
    try writeConfig(0x06, [0x10])
    try writeConfig(0x34, [0x40])
    let places = [table, table + 0x80].flatMap { offset in
      (0..<4).map { UInt8(truncatingIfNeeded: (offset | bar) >> UInt32(8 * $0)) }
    }
    try writeConfig(0x40, [0x11, 0, 7, 0] + places)
  }

  /// Overwrites bytes of the first device's configuration space.
  package func writeConfig(_ offset: Int, _ bytes: [UInt8]) throws {
    var content = try read("config")
    content.replaceSubrange(offset..<(offset + bytes.count), with: bytes)
    try write("config", content)
  }

  /// Removes a file, a link or a directory.
  package func remove(_ name: String) { Self.removeAll(path(name)) }

  /// Makes a link, in the place of what was there.
  package func link(_ name: String, to target: String) throws {
    remove(name)
    try makeDirectories(path(name).removingLastComponent())
    guard unsafe symlink(target, path(name).string) == 0 else { throw Errno(rawValue: errno) }
  }

  /// Makes a directory, in the place of what was there.
  package func makeDirectory(_ name: String) throws {
    remove(name)
    try makeDirectories(path(name))
  }

  /// Makes a FIFO, in the place of what was there.
  package func makeFIFO(_ name: String) throws {
    remove(name)
    guard unsafe mkfifo(path(name).string, 0o600) == 0 else { throw Errno(rawValue: errno) }
  }

  /// Moves what is at one place to another.
  package func move(_ name: String, to other: String) throws {
    try makeDirectories(path(other).removingLastComponent())
    guard unsafe rename(path(name).string, path(other).string) == 0 else {
      throw Errno(rawValue: errno)
    }
  }

  private func makeDirectories(_ path: FilePath) throws {
    if unsafe mkdir(path.string, 0o755) == 0 || errno == EEXIST { return }
    guard errno == ENOENT else { throw Errno(rawValue: errno) }
    try makeDirectories(path.removingLastComponent())
    try makeDirectories(path)
  }

  // MARK: Looking

  /// A file's content, at most 64 KiB of it.
  package func read(_ name: String) throws -> [UInt8] {
    try SysfsNode(path: path(name).string).bytes(limit: 65536)
  }

  /// A text file's content without the last line's end.
  package func text(_ name: String) throws -> String {
    var content = try read(name)
    if content.last == UInt8(ascii: "\n") { content.removeLast() }
    return String(decoding: content, as: UTF8.self)
  }
}
