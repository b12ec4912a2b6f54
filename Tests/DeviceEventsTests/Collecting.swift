import DeviceEvents
import Glibc
import LinuxSystem
import PCIDevices

extension DeviceEventSource {
  /// Whether there is something to drain now, or within so many milliseconds.
  func isReadable(within milliseconds: CInt = 0) -> Bool {
    var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return unsafe poll(&request, 1, milliseconds) > 0
  }

  /// What has happened by now, drained the way an event loop does it.
  func collect() throws(SystemError) -> [DeviceEvent] {
    var events: [DeviceEvent] = []
    while isReadable() { try drain { events.append($0) } }
    return events
  }
}

extension PCIAddress {
  /// Device `number` of many.
  static func numbered(_ number: Int) -> PCIAddress? {
    PCIAddress(
      bus: UInt8(number / 256), device: UInt8(number / 8 % 32), function: UInt8(number % 8))
  }
}
