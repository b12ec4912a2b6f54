import GenPool
import Reference

/// Random lives of pools of one chunk beside the reference model: every placement equal, and the
/// index checked whole every now and then.
struct Verification {
  /// What went wrong first; nil when nothing did.
  private(set) var failure: String?
  private(set) var operations = 0
  private(set) var pools = 0
  private var random: SplitMix64
  private let seed: UInt64

  private static let order: UInt64 = 4
  /// Around every border of words, nodes and levels.
  private static let sizes = [
    1, 2, 63, 64, 65, 127, 128, 129, 130, 1000, 4095, 4096, 4097, 9000, 20_000, 70_000, 100_000,
  ]

  init(seed: UInt64) {
    self.seed = seed
    random = SplitMix64(seed: seed)
  }

  /// Pools live and end until `count` operations are done or one is wrong.
  mutating func run(_ count: Int) {
    while operations < count, failure == nil { live(atMost: count - operations) }
  }

  /// Most worlds are small: there the model is quick, and every border is near.
  private mutating func granules() -> Int {
    switch below(64) {
    case 0: Self.sizes[below(Self.sizes.count)]
    case 1..<4: 1 + below(6000)
    default: 1 + below(400)
    }
  }

  private mutating func live(atMost limit: Int) {
    let granules = granules()
    let origin = below(2) == 0 ? 1 << 20 : 1 << 20 + below(1 << 12)
    var model = ReferenceModel(order: Self.order)
    let start = VirtualAddress(UInt64(origin) << Self.order)
    model.add(start: start.rawValue, size: bytes(granules).rawValue, physical: nil, owner: nil)
    let pool = Pool(granule: GranuleSize(order: Int(Self.order)))
    do {
      try pool.add(start: start, size: bytes(granules))
    } catch {
      failure = "seed \(seed): \(granules) granules: \(error)"
      return
    }
    pools += 1
    var held: [(first: Int, count: Int)] = []
    var used = 0
    let target = granules * (30 + below(71)) / 100
    let most = [1, 4, 16, 16, 40, 64, 100, 300, 5000, 100_000][below(10)]
    let kinds = below(4)
    // A large world's life is short, for the model's sake.
    let steps = min(limit, granules > 6000 ? 300 : granules > 400 ? 2000 : 4000)
    for step in 0..<steps {
      operations += 1
      if !held.isEmpty, used > target || below(3) == 0 {
        let index = below(held.count)
        var (first, count) = held[index]
        if count > 1, below(8) == 0 {
          let kept = 1 + below(count - 1)
          held[index].count = kept
          first += kept
          count -= kept
        } else {
          held.swapAt(index, held.count - 1)
          held.removeLast()
        }
        do {
          try pool.free(start + bytes(first), size: bytes(count))
        } catch {
          failure = "seed \(seed), pool \(pools), step \(step): free \(first) \(count): \(error)"
          return
        }
        _ = model.free((start + bytes(first)).rawValue, bytes(count).rawValue)
        used -= count
      } else {
        let count = below(10) == 0 ? 1 + below(200) : 1 + below(min(most, granules + 1))
        let fit = fit(kinds, granules)
        let expected: Int? =
          if case .address(let address, _) = model.allocate(bytes(count).rawValue, fit) {
            Int((address - start.rawValue) >> Self.order)
          } else {
            nil
          }
        // The pool's own fit takes the short way that most calls take.
        let isOwn = if case .first = fit { below(8) > 0 } else { false }
        let got = try? pool.allocate(bytes(count), fit: isOwn ? nil : fit.fit)
        let place = got.map { Int(($0.start - start).rawValue >> Self.order) }
        guard place == expected else {
          failure =
            "seed \(seed), pool \(pools) of \(granules) granules at \(origin), step \(step): "
            + "\(count) granules, \(fit.description): \(said(place)), not \(said(expected))"
          return
        }
        if let place {
          held.append((place, count))
          used += count
        }
      }
      #if DEBUG
        let isCheckDue = granules <= 400 || step % 701 == 0
      #else
        let isCheckDue = step % (granules > 400 ? 701 : 211) == 0
      #endif
      if isCheckDue { pool.checkInvariants() }
    }
    pool.checkInvariants()
  }

  /// A third of the worlds know first fit only, as most pools do.
  private mutating func fit(_ kinds: Int, _ granules: Int) -> ReferenceFit {
    guard kinds > 0 else { return .first }
    return switch below(kinds == 1 ? 16 : 7) {
    case 0: .aligned(1 << (UInt64(below(10)) + Self.order))
    case 1: .orderAligned
    case 2: .best
    case 3: .fixed(bytes(below(granules)).rawValue)
    case 4: .last
    default: .first
    }
  }

  private func said(_ place: Int?) -> String { place.map(String.init) ?? "nowhere" }

  private func bytes(_ granules: Int) -> ByteCount { ByteCount(UInt64(granules) << Self.order) }

  private mutating func below(_ bound: Int) -> Int { random.next(below: bound) }
}
