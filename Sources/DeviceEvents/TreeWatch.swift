import Glibc
public import LinuxSystem
public import PCIDevices
import SystemPackage

/// Devices of an emulated tree, by inotify on the directory that names them, `bus/pci/devices`.
///
/// Knows of no driver bound or unbound: that happens elsewhere in the tree.
public final class TreeWatch: DeviceEventSource {
  private let inotify: Descriptor
  private let root: SysfsRoot
  private let directory: String
  /// Why there is nothing to come any more.
  private var end: SystemError?

  /// Room for 240 events with the longest names, and 2,000 of devices.
  private static let capacity = 65536

  /// Starts to watch the tree at `root`.
  /// - Throws: ENOENT without such a tree; ENOSPC or EMFILE when this user watches too much already.
  public init(root: SysfsRoot) throws(SystemError) {
    self.root = root
    directory = root.path.appending("bus/pci/devices").string
    let number = inotify_init1(CInt(IN_NONBLOCK) | CInt(IN_CLOEXEC))
    guard number >= 0 else {
      throw Self.failure(
        "start to watch", directory,
        errno == EMFILE ? "see /proc/sys/fs/inotify/max_user_instances" : nil)
    }
    inotify = Descriptor(owning: number)
    try watch()
  }

  public var descriptor: CInt { inotify.rawValue }

  public func drain(_ handle: (DeviceEvent) -> Void) throws(SystemError) {
    if let end { throw end }
    try unsafe withUnsafeTemporaryAllocation(
      byteCount: Self.capacity, alignment: MemoryLayout<inotify_event>.alignment
    ) { (buffer) throws(SystemError) in
      let length = try unsafe read(into: buffer)
      unsafe tell(UnsafeRawBufferPointer(rebasing: buffer[..<length]), to: handle)
    }
    if let end { throw end }
  }

  // MARK: inotify

  /// Doing it again changes nothing for a directory that is still the same.
  private func watch() throws(SystemError) {
    // What is above it too: who renames that takes the directory along, which notices nothing.
    for above in ["", "bus", "bus/pci"] {
      try add(root.path.appending(above).string, IN_DELETE_SELF | IN_MOVE_SELF)
    }
    try add(
      directory,
      IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_MOVE_SELF)
  }

  private func add(_ path: String, _ events: CInt) throws(SystemError) {
    let mask = UInt32(events) | UInt32(IN_ONLYDIR)
    guard unsafe inotify_add_watch(inotify.rawValue, path, mask) < 0 else { return }
    throw Self.failure(
      "watch", path, errno == ENOSPC ? "see /proc/sys/fs/inotify/max_user_watches" : nil)
  }

  /// - Returns: how many bytes there were, 0 when nothing has happened.
  private func read(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int {
    while true {
      let count = unsafe Glibc.read(inotify.rawValue, buffer.baseAddress, buffer.count)
      if count >= 0 { return count }
      if errno == EAGAIN { return 0 }
      guard errno == EINTR else { throw Self.failure("watch", directory, nil) }
    }
  }

  /// Takes whole events, as the kernel gives them: a head, and a name padded with zeros.
  private func tell(_ bytes: UnsafeRawBufferPointer, to handle: (DeviceEvent) -> Void) {
    let headSize = MemoryLayout<inotify_event>.size
    var offset = 0
    while bytes.count - offset >= headSize {
      let head = unsafe bytes.loadUnaligned(fromByteOffset: offset, as: inotify_event.self)
      let nameStart = offset + headSize
      offset = nameStart + Int(head.len)
      let name = unsafe bytes[nameStart..<min(offset, bytes.count)].prefix { $0 != 0 }
      unsafe tell(head.mask, String(decoding: name, as: UTF8.self), to: handle)
    }
  }

  private func tell(_ mask: UInt32, _ name: String, to handle: (DeviceEvent) -> Void) {
    func includes(_ events: CInt) -> Bool { mask & UInt32(events) != 0 }
    if includes(IN_Q_OVERFLOW) {
      // What was lost was lost before this was read. It may have been the tree's end.
      do throws(SystemError) { try watch() } catch { end = error }
      handle(.overrun)
    } else if includes(IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT) {
      end = SystemError(
        operation: "watch", subject: directory, errno: .noSuchFileOrDirectory,
        cause: "the emulated tree was removed or moved away")
    } else if end == nil, let address = PCIAddress(sysfsName: name) {
      handle(includes(IN_CREATE | IN_MOVED_TO) ? .added(address) : .removed(address))
    }
  }

  private static func failure(
    _ operation: String, _ subject: String, _ cause: String?
  ) -> SystemError {
    SystemError(
      operation: operation, subject: subject, errno: Errno(rawValue: Glibc.errno), cause: cause)
  }
}
