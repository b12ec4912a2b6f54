import CUevents
import DeviceEvents
import LinuxSystem
import SystemPackage
import Testing

/// A monitor of the kernel's uevents in a network namespace of its own, and what makes the kernel
/// send some there. No device of the machine is touched, and nobody else hears of it.
final class PrivateUevents {
  let monitor: UdevMonitor
  private let sender: Descriptor

  /// - Parameter group: what the monitor listens to.
  init(_ group: UdevMonitor.Group = .kernel, receiveBuffer: Int = 1 << 20) throws {
    // Without a suspension in between: a namespace is the thread's.
    let previous = try Self.check(cu_enter_network())
    defer { _ = cu_leave_network(previous) }
    monitor = try UdevMonitor(group: group, receiveBuffer: receiveBuffer)
    sender = Descriptor(owning: try Self.check(cu_open()))
  }

  /// Whether this process may do so: it takes CAP_SYS_ADMIN.
  static let isPossible: Bool = {
    let previous = cu_enter_network()
    return previous >= 0 && cu_leave_network(previous) == 0
  }()

  /// What a test that needs this says when it is skipped.
  static let requirement: Comment = "a network namespace takes CAP_SYS_ADMIN: run as root"

  /// The kernel's message of `action` on the device called `name`.
  static func message(_ action: String, _ name: String, subsystem: String = "pci") -> String {
    let path = "/devices/pci0000:00/\(name)"
    return "\(action)@\(path)\0ACTION=\(action)\0DEVPATH=\(path)\0SUBSYSTEM=\(subsystem)\0"
  }

  /// Has the kernel tell that `action` has happened to the device called `name`.
  func tell(_ action: String, _ name: String, subsystem: String = "pci") throws {
    try broadcast(Self.message(action, name, subsystem: subsystem))
  }

  /// Has the kernel broadcast `text`, whatever it is.
  func broadcast(_ text: String) throws {
    let bytes = Self.bytes(text)
    _ = try Self.check(unsafe cu_send_as_kernel(sender.rawValue, bytes, bytes.count))
  }

  /// Sends `text` to all who listen to the kernel's group, without being the kernel.
  func forgeBroadcast(_ text: String, group: UInt32 = 1) throws {
    let bytes = Self.bytes(text)
    _ = try Self.check(unsafe cu_send_to_group(sender.rawValue, group, bytes, bytes.count))
  }

  /// Sends `text` to the monitor only, without being the kernel.
  func forgeMessage(_ text: String) throws {
    let bytes = Self.bytes(text)
    _ = try Self.check(
      unsafe cu_send_to_socket(sender.rawValue, monitor.descriptor, bytes, bytes.count))
  }

  private static func bytes(_ text: String) -> [CChar] {
    text.utf8.map { CChar(bitPattern: $0) }
  }

  private static func check(_ result: CInt) throws -> CInt {
    guard result < 0 else { return result }
    throw Errno(rawValue: -result)
  }
}
