import BrokerProtocol

/// An answer in several replies, of which each is made when the one before it was sent.
struct Listing {
  /// One reply of it.
  struct Page {
    /// Nil when there is nothing to send yet.
    let message: OutputQueue.Message?
    let isLast: Bool
  }

  let call: ReceivedCall
  /// The next reply. Not called after the last.
  let next: () throws(BrokerError) -> Page
}

extension Listing {
  /// The most entries of a reply that others follow.
  static let pageSize = 64
  /// The most entries of a reply to a call that takes no other.
  static let mostUnpaged = 256
}
