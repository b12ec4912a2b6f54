import CUdev
import Glibc
public import LinuxSystem
import PCIDevices
package import SystemPackage

/// The machine's own PCI devices, by libudev's monitor.
///
/// Takes no privilege to open. Hears what is said in its network namespace: the kernel's group in
/// every one, udevd's in udevd's only (so no `PrivateNetwork=` for a service that uses it, and
/// `AF_NETLINK` in its `RestrictAddressFamilies=`).
// SAFETY: owns one reference to each of the two objects: taken by init, dropped by deinit, used in
// between only, and by one thread, for the class is not Sendable.
@safe public final class UdevMonitor: DeviceEventSource {
  private let context: OpaquePointer
  private let monitor: OpaquePointer
  /// Messages were lost, and it is not yet time to say so.
  private var hasLost = false

  /// How many messages one drain takes.
  private static let batch = 256
  /// Room for some 10,000 messages; the kernel's default has room for 200, of all subsystems
  /// together where there is no udevd. Costs nothing while it is empty.
  private static let receiveBuffer = 16 << 20

  /// Starts to listen, to udevd where there is one and else to the kernel.
  public convenience init() throws(SystemError) {
    try self.init(group: .present())
  }

  /// Starts to listen.
  /// - Parameter receiveBuffer: bytes. Without CAP_NET_ADMIN the kernel grants at most
  ///   `/proc/sys/net/core/rmem_max`.
  package init(group: Group, receiveBuffer: Int = receiveBuffer) throws(SystemError) {
    let subject = "device events of the group \(group.rawValue)"
    guard let context = unsafe udev_new() else { throw Self.failure("listen to", subject) }
    guard let monitor = unsafe udev_monitor_new_from_netlink(context, group.rawValue) else {
      let error = Self.failure("listen to", subject)
      unsafe udev_unref(context)
      throw error
    }
    unsafe self.context = unsafe context
    unsafe self.monitor = unsafe monitor
    // A smaller one only makes an overrun more likely, and that is told.
    _ = unsafe udev_monitor_set_receive_buffer_size(monitor, CInt(clamping: receiveBuffer))
    var result = unsafe udev_monitor_filter_add_match_subsystem_devtype(monitor, "pci", nil)
    if result >= 0 { result = unsafe udev_monitor_enable_receiving(monitor) }
    try check(result, "listen to", subject, cause: Self.cause(of: -result))
  }

  deinit {
    unsafe udev_monitor_unref(monitor)
    unsafe udev_unref(context)
  }

  public var descriptor: CInt { unsafe udev_monitor_get_fd(monitor) }

  public func drain(_ handle: (DeviceEvent) -> Void) throws(SystemError) {
    var taken = 0
    while try isReadable() {
      guard taken < Self.batch else { return }
      taken += 1
      if let event = receive() { handle(event) }
    }
    // Not before the queue is empty: after an overrun the kernel adds nothing to it until then, so
    // who looked at the devices earlier would miss what happens meanwhile. Linux: netlink_rcv_wake.
    guard hasLost else { return }
    hasLost = false
    handle(.overrun)
  }

  // MARK: Messages

  /// Takes a message, if one is for us. Nothing to see does not mean that nothing is left: libudev
  /// says EAGAIN of a message that it does not trust, too.
  private func receive() -> DeviceEvent? {
    guard let device = unsafe udev_monitor_receive_device(monitor) else {
      switch errno {
      case EAGAIN, EINTR: break
      // Not as the kernel or udevd write it: too short, without a key that each has, no path.
      case EINVAL, EBADMSG, ENODEV: break
      // ENOBUFS: there was no room for messages. The others, like ENOMEM, may have cost one.
      default: hasLost = true
      }
      return nil
    }
    defer { unsafe udev_device_unref(device) }
    guard let action = unsafe udev_device_get_action(device),
      let name = unsafe udev_device_get_sysname(device),
      let address = PCIAddress(sysfsName: unsafe String(cString: name))
    else { return nil }
    switch unsafe String(cString: action) {
    case "add": return .added(address)
    case "remove": return .removed(address)
    case "move":
      // The kernel does not rename PCI devices. Should it ever, looking again is always right.
      hasLost = true
      return nil
    default: return .changed(address)
    }
  }

  private func isReadable() throws(SystemError) -> Bool {
    var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    while true {
      let count = unsafe poll(&request, 1, 0)
      if count == 0 { return false }
      if count > 0 { return true }
      guard errno == EINTR else { throw Self.failure("wait for", "device events") }
    }
  }

  private static func failure(_ operation: String, _ subject: String) -> SystemError {
    let number = errno
    return SystemError(
      operation: operation, subject: subject, errno: Errno(rawValue: number),
      cause: cause(of: number))
  }

  private static func cause(of number: CInt) -> String? {
    number == EAFNOSUPPORT ? "in a service, see RestrictAddressFamilies=AF_NETLINK" : nil
  }
}

extension UdevMonitor {
  /// Who tells of devices: a multicast group of NETLINK_KOBJECT_UEVENT, as libudev names it.
  package enum Group: String, Hashable, Sendable, CaseIterable {
    /// udevd, once its rules have been applied.
    case udev
    /// The kernel, at once. For where no udevd runs: libudev's monitor of the other group would be
    /// silent there, without an error.
    case kernel

    /// The group to listen to: `udev` where `control`, which udevd makes, is there.
    package static func present(control: FilePath = "/run/udev/control") -> Self {
      unsafe access(control.string, F_OK) == 0 ? .udev : .kernel
    }
  }
}
