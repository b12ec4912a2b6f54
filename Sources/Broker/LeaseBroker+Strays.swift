import BrokerProtocol
import Logging

// Memory that is still reached although every process it was lent to is gone.

extension LeaseBroker {
  /// Nothing tells when a lock goes, so it is looked after: so often.
  private static let strayInterval = Duration.milliseconds(250)

  /// Waits until nobody reaches the memory of a region that has lost its last holder.
  func watchStrays(of region: AttachedRegion) {
    guard !region.isWatchedForStrays, region.hasStrays else { return }
    region.isWatchedForStrays = true
    logger.warning(
      "stray",
      metadata: [
        "pool": "\(region.name)", "uid": "\(region.lastUser?.description ?? "none")",
        "cause": "a process that was not lent its memory still reaches it",
      ])
    lookForStrays(of: region)
  }

  private func lookForStrays(of region: AttachedRegion) {
    loop.after(Self.strayInterval) { [unowned self] in
      guard regions.contains(where: { $0 === region }) else { return }
      guard !region.hasStrays else { return lookForStrays(of: region) }
      region.isWatchedForStrays = false
      // A new holder leaves in its turn.
      guard !region.isReached else { return }
      resubmitContested(region)
      forgetIfGone(region)
      finishDraining(region)
      scheduleRetry()
    }
  }
}
