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

  /// A function that does the same later, on any thread, while this provider is used.
  func opening(of request: AttachRequest) -> Opening

  /// Lists devices.
  typealias Listing = @Sendable () throws(BrokerError) -> [Broker1.Device]

  /// Opens memory.
  typealias Opening = @Sendable () throws(BrokerError) -> OpenBAR
}
