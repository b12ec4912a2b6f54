import BrokerProtocol
import LinuxSystem

/// Lists the machine's devices on a thread of its own: that reads many files of sysfs, and may wake
/// devices.
///
/// Those who ask while it is at work share the next list, so that however many ask, it lists once
/// at a time. It rests for as long as it worked.
final class DeviceLister {
  typealias Result = Swift.Result<[Broker1.Device], BrokerError>

  private struct Finished: Sendable {
    let result: Result
    let duration: Duration
  }

  private enum State {
    case idle
    case atWork
    case atRest
  }

  private let loop: EventLoop
  private var worker: Worker<DeviceProvider.Listing, Finished>?
  private let listing: DeviceProvider.Listing
  private var state = State.idle
  /// Those who get the list that is being made.
  private var served: [(Result) -> Void] = []
  /// Those who get the next one.
  private var waiting: [(Result) -> Void] = []

  /// Starts the thread.
  init(_ listing: @escaping DeviceProvider.Listing, on loop: EventLoop) throws(SystemError) {
    self.listing = listing
    self.loop = loop
    worker = try Worker(
      on: loop,
      body: { listing in
        let start = ContinuousClock.now
        let result = Swift.Result(catching: listing)
        return (Finished(result: result, duration: .now - start), nil)
      }, handler: { [unowned self] in takeIn($0) })
  }

  /// Calls `handler` on the loop with the devices as they are at some moment after now.
  func list(_ handler: @escaping (Result) -> Void) {
    waiting.append(handler)
    begin()
  }

  private func begin() {
    guard state == .idle, !waiting.isEmpty else { return }
    state = .atWork
    (served, waiting) = (waiting, [])
    worker?.submit(listing)
  }

  private func takeIn(_ finished: Finished) {
    state = .atRest
    loop.after(finished.duration) { [weak self] in
      self?.state = .idle
      self?.begin()
    }
    var answered = served[...]
    served = []
    loop.inSlices {
      answered.popFirst()?(finished.result)
      return !answered.isEmpty
    }
  }
}
