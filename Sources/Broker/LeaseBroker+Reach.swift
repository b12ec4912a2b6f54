import BrokerLeases
import BrokerProtocol
import DeviceMemory
import Logging

// Processes that still reach memory: those that keep what they were lent, and strays, which it was not lent
// to.

extension LeaseBroker {
  /// Nothing tells when a process lets go, so it is looked after while that is waited for: so often.
  private static let interval = Duration.milliseconds(250)

  /// Does what waits until nobody reaches a region's memory, or looks again later.
  func followUp(_ region: AttachedRegion) {
    forgetIdleHolders(of: region)
    switch region.answer {
    case .reached: return watchReach(of: region)
    case .unknown:
      // Nothing will tell. What ends now ends with a record of what is outstanding.
      forgetIfGone(region)
      finishDraining(region)
    case .free:
      resubmitContested(region)
      forgetIfGone(region)
      finishDraining(region)
      scheduleRetry()
    }
  }

  /// Forgets the holders of a region once all of them have let go.
  func forgetIdleHolders(of region: AttachedRegion) {
    let holders = region.holders.keys
    region.forgetIdleHolders()
    forgetIfIdle(holders)
  }

  /// Forgets the holders of a region whose device the kernel does not take back before all have let go.
  func forgetHolders(of region: AttachedRegion) {
    let holders = region.holders.keys
    region.removeAllHolders()
    forgetIfIdle(holders)
  }

  private func forgetIfIdle(_ holders: some Collection<ClientProcess.ID>) {
    for id in holders { server.forgetIfIdle(id) }
  }

  /// Follows up in a moment, if anything waits for that.
  func watchReach(of region: AttachedRegion) {
    guard !region.isWatched, isEndAwaited(region) else { return }
    region.isWatched = true
    loop.after(Self.interval) { [unowned self] in
      region.isWatched = false
      guard regions.contains(where: { $0 === region }) else { return }
      followUp(region)
    }
  }

  /// Follows up on all regions that somebody waits for.
  func watchAwaited() {
    for region in regions where region.isReached { watchReach(of: region) }
  }

  /// Logs that memory is reached although every process that it was lent to is gone. That the kernel cannot
  /// tell is no event: it is so after each lease, and the next user is told.
  func noteStrays(of region: AttachedRegion) {
    guard region.hasStrays else { return }
    logger.warning(
      "stray",
      metadata: [
        "pool": "\(region.name)", "uid": "\(region.lastUser?.description ?? "none")",
        "cause": "a process that was not lent its memory still reaches it",
      ])
  }

  private func isEndAwaited(_ region: AttachedRegion) -> Bool {
    if region.hasStrays { return true }
    guard region.canForgetHolders else { return false }
    return region.hasGone || region.isDraining
      || leases.isAwaited(region.id)
  }
}
