import GenPool

/// What single allocations take in the work of `compare`, without what else the machine does: the same life
/// is lived several times, and each allocation counts with the least of its times.
struct Life {
  let shape: PoolShape
  let fit: MeasuredFit
  /// Percent of the granules.
  let occupancy: Int
  /// Nanoseconds, with the clock's own 20, failed searches included.
  let latencies: Sorted

  init(
    _ shape: PoolShape, _ fit: MeasuredFit, occupancy: Int, allocations: Int, repeats: Int
  ) throws {
    self.shape = shape
    self.fit = fit
    self.occupancy = occupancy
    var least = [Double](repeating: .infinity, count: allocations)
    for _ in 0..<repeats {
      let work = Work(
        try GenPoolSubject(shape, fit), shape, occupancy: occupancy, isFixed: fit == .fixed, seed: 1
      )
      work.run(2 * work.liveCount)
      var times: [Double] = []
      times.reserveCapacity(allocations + 64)
      work.time(allocations, into: &times)
      for index in least.indices { least[index] = min(least[index], times[index]) }
    }
    latencies = Sorted(least)
  }
}
