public import BrokerProtocol

/// The seam to the code that knows and opens devices. The broker itself cannot: it maps what it is
/// given.
///
/// Called on the broker's thread, so an implementation must not wait for anything slower than
/// sysfs.
public protocol DeviceProvider: AnyObject {
  /// A function that lists the machine's devices that have memory, attached or not, on any thread.
  var listing: Listing { get }

  /// Opens a BAR or a part of it, after the attach policy has agreed. What the opening changed is
  /// undone when the range ends.
  func open(_ request: AttachRequest) throws(BrokerError) -> OpenBAR

  /// Calls `body`, which opens many BARs one after the other: facts that they share need to be read
  /// only once meanwhile.
  func openingMany<Failure: Error>(_ body: () throws(Failure) -> Void) throws(Failure)

  /// A function that does what ``open(_:)`` does later, on any thread, while this provider is used.
  func opening(of request: AttachRequest) -> Opening

  /// Lists devices.
  typealias Listing = @Sendable () throws(BrokerError) -> [Broker1.Device]

  /// Opens memory.
  typealias Opening = @Sendable () throws(BrokerError) -> OpenBAR
}

extension DeviceProvider {
  /// Reads everything each time.
  public func openingMany<Failure: Error>(_ body: () throws(Failure) -> Void) throws(Failure) {
    try body()
  }
}
