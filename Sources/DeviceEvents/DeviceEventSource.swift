public import LinuxSystem

/// Tells which devices come and go, to one thread with an event loop.
///
/// ```
/// let events = try DeviceEvents.watch(tree)     // First watch,
/// let present = try tree.list()                 // then list: nothing falls between the two.
/// // …, and whenever events.descriptor is readable:
/// try events.drain { event in … }
/// ```
public protocol DeviceEventSource: AnyObject {
  /// Readable while there is something to ``drain(_:)``: for poll, or for epoll level-triggered.
  /// Open as long as this object lives; only to be waited for.
  var descriptor: CInt { get }

  /// Calls `handle` for what has happened, in order, and returns without waiting for more. Takes a
  /// bounded number of events a call, so that a flood of them does not starve the loop: the
  /// descriptor stays readable if there are others.
  /// - Throws: when the source has ended, after the events from before that, and on every further
  ///   call. Stop watching the descriptor then.
  func drain(_ handle: (DeviceEvent) -> Void) throws(SystemError)
}
