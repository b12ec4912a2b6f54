import BrokerProtocol
import Logging

// Who still reaches memory: processes that keep what they were lent, and strays, which nobody lent it to.

extension LeaseBroker {
  /// Nothing tells when a process lets go, so it is looked after while that is waited for: so often.
  private static let interval = Duration.milliseconds(250)

  /// Does what waits until nobody reaches a region's memory, or looks again later.
  func followUp(_ region: AttachedRegion) {
    forgetIdleHolders(of: region)
    guard !region.isReached else { return watchReach(of: region) }
    resubmitContested(region)
    forgetIfGone(region)
    finishDraining(region)
    scheduleRetry()
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
    for id in holders { processes[id].map(forgetIfIdle) }
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

  /// Says so when memory is reached although every process that it was lent to is gone.
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
      || parked.contains { $0.wait.pools[region.id] != nil }
  }
}
