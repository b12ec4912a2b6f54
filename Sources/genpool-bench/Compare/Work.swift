import GenPool
import Reference

/// The work that is measured, and a pool's state for it: free a random live allocation, then
/// allocate 1 to 16 granules until the occupancy is what it was. Failed searches are part of it.
///
/// Two pools with equal placement that start from copies of one state do exactly the same.
// SAFETY: `live` is owned from init to deinit; the first `count` elements are initialized.
@safe
final class Work<Pool: Subject> {
  let pool: Pool
  private let isFixed: Bool
  private let target: Int
  private var used = 0
  private var random: SplitMix64
  private var live: UnsafeMutablePointer<Live>
  private let capacity: Int
  private var count = 0
  private(set) var failures = 0

  private struct Live {
    let handle: UInt64
    let count: UInt32
  }

  /// Fills `pool` to `occupancy` percent, or its share of that if others work on it too.
  init(
    _ pool: Pool, _ shape: PoolShape, occupancy: Int, isFixed: Bool, seed: UInt64, sharers: Int = 1
  ) {
    self.pool = pool
    self.isFixed = isFixed
    target = shape.total * occupancy / 100 / sharers
    random = SplitMix64(seed: seed)
    capacity = shape.total / 2 + 64
    unsafe live = .allocate(capacity: capacity)
    fill(at: .max)
  }

  /// A copy of another work's state; `pool` has a copy of its pool's.
  init<Other: Subject>(copying other: Work<Other>, to pool: Pool) {
    self.pool = pool
    isFixed = other.isFixed
    target = other.target
    used = other.used
    random = other.random
    capacity = other.capacity
    count = other.count
    unsafe live = .allocate(capacity: capacity)
    for index in 0..<count {
      let element = unsafe other.live[index]
      unsafe (live + index).initialize(to: Live(handle: element.handle, count: element.count))
    }
  }

  deinit { unsafe live.deallocate() }

  var liveCount: Int { count }

  /// Does the work `times` times.
  @inline(never)
  func run(_ times: Int) { for _ in 0..<times { step() } }

  /// Frees, and allocates until the occupancy is reached again.
  @inline(__always)
  func step() { fill(at: freeOne()) }

  /// Does the work until `samples` has `count` more: how long each allocation took.
  @inline(never)
  func time(_ count: Int, into samples: inout [Double]) {
    let end = samples.count + count
    while samples.count < end {
      let place = freeOne()
      while used < target {
        let wanted = place == .max ? 1 &+ below(16) : target &- used
        let start = nanoseconds()
        let isDone = allocate(wanted, at: place)
        samples.append(Double(nanoseconds() - start))
        if !isDone { break }
      }
    }
  }

  /// Frees a random live allocation; where it was.
  @inline(__always)
  func freeOne() -> UInt64 {
    let live = unsafe live
    let index = below(count)
    let chosen = unsafe live[index]
    count &-= 1
    unsafe live[index] = live[count]
    pool.free(chosen.handle, Int(chosen.count))
    used &-= Int(chosen.count)
    return isFixed ? chosen.handle : .max
  }

  @inline(__always)
  private func fill(at place: UInt64) {
    while used < target {
      let wanted = place == .max ? 1 &+ below(16) : target &- used
      // A pool without such a run goes on with less; so does the other one.
      guard allocate(wanted, at: place) else { return }
    }
  }

  @inline(__always)
  func allocate(_ wanted: Int, at place: UInt64) -> Bool {
    let live = unsafe live
    guard count < capacity, let handle = pool.allocate(wanted, at: place) else {
      failures &+= 1
      return false
    }
    unsafe (live + count).initialize(
      to: Live(handle: handle, count: UInt32(truncatingIfNeeded: wanted)))
    count &+= 1
    used &+= wanted
    return true
  }

  /// A random number below `bound`: no division, which would be most of what is measured.
  @inline(__always)
  private func below(_ bound: Int) -> Int {
    return Int(truncatingIfNeeded: random.next().multipliedFullWidth(by: UInt64(bound)).high)
  }
}
