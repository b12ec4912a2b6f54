import LinuxSystem
public import PCIDevices
import Synchronization

/// Which of a source's devices the kernel wants back: they are being removed, or their driver
/// unbound, and that waits until the last descriptor and the last mapping of them is gone. Asked
/// again every 10 s.
///
/// For one thread with an event loop: whenever ``descriptor`` is readable, ``drain()`` and let go.
public final class RemovalRequests: Sendable {
  private let epoll: Epoll
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
    epoll = try attempt("make", "an epoll set", try Epoll())
  }

  /// Readable while there is something to ``drain()``: for poll, or for epoll level-triggered. Open
  /// as long as this object lives; only to be waited for.
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
    try attempt(
      "wait for", "the removal of \(device.address)",
      try epoll.add(device.request.rawValue, .readable, token: token))
  }

  /// The devices that were asked for since, each once. Never waits.
  public func drain() -> [PCIAddress] {
    let events = (try? epoll.wait(milliseconds: 0)) ?? []
    return events.compactMap { event in
      watched.withLock { watched in
        guard let entry = watched.devices[event.token] else { return nil }
        if let device = entry.device { device.request.clear() }
        return entry.address
      }
    }
  }
}
