import CLinux
import DeviceMemory
public import PCIDevices
import Synchronization
import SystemPackage

/// Which of a source's devices the kernel wants back: they are being removed, or their driver unbound,
/// and that waits until the last descriptor and the last mapping of them is gone. Asked again every 10 s.
///
/// For one thread with an event loop: whenever ``descriptor`` is readable, ``drain()`` and let go.
public final class RemovalRequests: Sendable {
  private let epoll: Descriptor
  private let watched = Mutex(Watched())

  private struct Watched {
    var devices: [UInt64: Entry] = [:]
    var last: UInt64 = 0
  }

  private struct Entry {
    let address: PCIAddress
    weak var device: VFIODevice?
  }

  init() throws(SystemError) {
    let result = gl_epoll_create()
    guard result >= 0 else {
      throw SystemError(
        operation: "make", subject: "an epoll set", errno: Errno(rawValue: -result))
    }
    epoll = Descriptor(owning: result)
  }

  /// Readable while there is something to ``drain()``: for poll, or for epoll level-triggered. Open as
  /// long as this object lives; only to be waited for.
  public var descriptor: CInt { epoll.rawValue }

  /// Waits for requests for `device`, until it is closed.
  func add(_ device: VFIODevice) throws(SystemError) {
    let token = watched.withLock { watched in
      // The kernel has forgotten those that are closed.
      watched.devices = watched.devices.filter { $0.value.device != nil }
      watched.last += 1
      watched.devices[watched.last] = Entry(address: device.address, device: device)
      return watched.last
    }
    let result = gl_epoll_add(
      epoll.rawValue, device.request.rawValue, UInt32(GL_READABLE), token)
    guard result == 0 else {
      throw SystemError(
        operation: "wait for", subject: "the removal of \(device.address)",
        errno: Errno(rawValue: -result))
    }
  }

  /// The devices that were asked for since, each once. Never waits.
  public func drain() -> [PCIAddress] {
    var ready = [gl_ready](repeating: gl_ready(), count: 64)
    let count = unsafe gl_epoll_wait(epoll.rawValue, &ready, CInt(ready.count), 0)
    return ready.prefix(max(0, Int(count))).compactMap { event in
      watched.withLock { watched in
        guard let entry = watched.devices[event.token] else { return nil }
        if let device = entry.device { _ = gl_event_clear(device.request.rawValue) }
        return entry.address
      }
    }
  }
}
