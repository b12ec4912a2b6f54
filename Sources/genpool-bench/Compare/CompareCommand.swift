import ArgumentParser
import GenPool
import Glibc

/// `genpool-bench compare`: genpool, a linear scan and bins at the same work, interleaved.
struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare", abstract: "Measures genpool against a linear scan and against bins.")

  @Option(help: "Only cases whose name contains this.")
  var `case` = ""
  @Option(help: "Only this fit.")
  var fit: String?
  @Option(help: "Only this occupancy")
  var occupancy: Int?

  func run() throws {
    for shape in PoolShape.all where self.case.isEmpty || shape.name == self.case {
      for fit in MeasuredFit.allCases where self.fit == nil || self.fit == fit.rawValue {
        for occupancy in [50, 90, 99] where self.occupancy == nil || self.occupancy == occupancy {
          try measure(shape, fit, occupancy)
        }
      }
    }
  }

  func measure(_ shape: PoolShape, _ fit: MeasuredFit, _ occupancy: Int) throws {
    let ours = Work(
      try GenPoolSubject(shape, fit), shape, occupancy: occupancy, isFixed: fit == .fixed, seed: 1)
    ours.run(10 * ours.liveCount)
    guard let binned = BinnedSubject(shape, locked: true),
      let bare = BinnedSubject(shape, locked: false)
    else { return }
    let bins = Work(binned, shape, occupancy: occupancy, isFixed: false, seed: 1)
    bins.run(10 * bins.liveCount)
    let bareBins = Work(bare, shape, occupancy: occupancy, isFixed: false, seed: 1)
    bareBins.run(10 * bareBins.liveCount)
    var a: [Double] = [], b: [Double] = [], c: [Double] = []
    let n = 20000
    for _ in 0..<15 {
      a.append(time { ours.run(n) } / Double(n))
      b.append(time { bins.run(n) } / Double(n))
      c.append(time { bareBins.run(n) } / Double(n))
    }
    a.sort(); b.sort(); c.sort()
    print(
      shape.name, fit, occupancy, "ours", Int(a[7]), "bins", Int(b[7]), "bare", Int(c[7]),
      "failures", ours.failures, bins.failures)
  }
  func time(_ body: () -> Void) -> Double {
    var t = timespec(), u = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &t)
    body()
    unsafe clock_gettime(CLOCK_MONOTONIC, &u)
    return Double(u.tv_sec - t.tv_sec) * 1e9 + Double(u.tv_nsec - t.tv_nsec)
  }
}
