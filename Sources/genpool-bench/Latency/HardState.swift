import GenPool
import Reference

/// A state of a pool in which some search has a hard time, and the searches that are tried in it.
struct HardState: Sendable {
  let name: String
  /// The request, in granules.
  let count: Int
  /// What is free when all else is allocated: first granules and lengths, for a pool of `granules`.
  private let holes: @Sendable (_ granules: Int, _ visit: (Int, Int) -> Void) -> Void

  static let all: [HardState] = [
    HardState(name: "empty", count: 1) { granules, visit in visit(0, granules) },
    HardState(name: "last-granule", count: 1) { granules, visit in visit(granules - 1, 1) },
    HardState(name: "every-other-fails", count: 2) { granules, visit in
      for first in stride(from: 0, to: granules, by: 2) { visit(first, 1) }
    },
    HardState(name: "every-other-then-fit", count: 2) { granules, visit in
      for first in stride(from: 0, to: granules - 8, by: 2) { visit(first, 1) }
      visit(granules - 4, 4)
    },
    // Each hole is long enough, and no place in it is a multiple of 4.
    HardState(name: "misaligned", count: 3) { granules, visit in
      for first in stride(from: 1, to: granules - 8, by: 8) { visit(first, 3) }
      visit(granules - 4, 4)
    },
    HardState(name: "misaligned-long", count: 126) { granules, visit in
      for first in stride(from: 1, to: granules - 256, by: 256) { visit(first, 127) }
      visit(granules - 128, 128)
    },
    HardState(name: "long-runs", count: 199) { granules, visit in
      for first in stride(from: 0, to: granules - 512, by: 256) {
        visit(first, 64 + first / 256 % 130)
      }
      visit(granules - 256, 200)
    },
    HardState(name: "long-runs-fail", count: 1000) { granules, visit in
      for first in stride(from: 0, to: granules - 512, by: 256) {
        visit(first, 64 + first / 256 % 190)
      }
    },
    // The state after long use: one granule in ten is free, in holes of 1 to 16.
    HardState(name: "worn", count: 5) { granules, visit in
      var random = SplitMix64(seed: 15)
      var first = 0
      while first < granules - 160 {
        let length = 1 + random.next(below: 16)
        visit(first, length)
        first += length + 1 + random.next(below: 18 * length)
      }
    },
  ]

  /// The names of all, for people.
  static var names: String { all.map(\.name).joined(separator: ", ") }

  /// Brings a fresh pool into this state.
  func prepare(_ subject: GenPoolSubject, granules: Int) throws {
    // By the first fit: what another needs would be built from the empty pool.
    _ = try subject.allocate(granules, .first)
    holes(granules) { first, count in subject.free(UInt64(first), count) }
  }
}
