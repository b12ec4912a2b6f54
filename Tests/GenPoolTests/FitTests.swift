import GenPool
import Reference
import Testing

/// Every bitmap of a small world, every request, every fit: if all of these are right, the searches
/// are right for whatever does not depend on word borders; the second test moves across those.
struct FitTests {
  private static func fits(granules: Int, order: UInt64) -> [ReferenceFit] {
    let granule: UInt64 = 1 << order
    return [.first, .orderAligned, .best]
      + [1, 2, 3, 4, 5, 6, 8].map { .aligned($0 * granule) }
      + [.aligned(granule / 2 + 1), .aligned(granule + granule / 2)]
      + (0...granules).map { .fixed(UInt64($0) * granule) }
  }

  private func expectEqualPlaces(
    _ taken: [Bool], count: Int, start: Int, chunkStart: UInt64, order: UInt64, fit: ReferenceFit
  ) throws {
    var words = [UInt64](repeating: 0, count: (taken.count + 63) / 64)
    for (index, isTaken) in taken.enumerated() where isTaken {
      words[index / 64] |= 1 << (index % 64)
    }
    guard let bitmap = GranuleBitmap(count: GranuleCount(taken.count), words: words) else {
      Issue.record("no memory")
      return
    }
    let request = Fit.Request(
      start: GranuleIndex(start), count: GranuleCount(count),
      chunkStart: ByteCount(chunkStart), granule: GranuleSize(order: Int(order)))
    let got = fit.fit.place(request, in: bitmap)?.rawValue
    let expected = fit.place(
      in: taken, count: count, chunkStart: chunkStart, order: order, from: start)
    // Recording every comparison as an expectation would take longer than the comparisons.
    if got != expected {
      Issue.record("\(taken) count \(count) from \(start) at \(chunkStart) \(fit): \(got as Any)")
    }
  }

  @Test(arguments: 0...10)
  func `every small bitmap gives every request the reference model's place`(granules: Int) throws {
    let order: UInt64 = 4
    let fits = Self.fits(granules: granules, order: order)
    for bits in 0..<(1 << granules) {
      let taken = (0..<granules).map { bits >> $0 & 1 == 1 }
      for count in 1...(granules + 1) {
        for fit in fits {
          try expectEqualPlaces(
            taken, count: count, start: 0, chunkStart: 0x1000, order: order, fit: fit)
        }
      }
    }
  }

  @Test(arguments: [0x1000, 0x1010, 0x1030, 0x1008] as [UInt64])
  func `a chunk's address shifts aligned places as in the reference model`(start: UInt64) throws {
    for granules in 5...8 {
      for bits in 0..<(1 << granules) {
        let taken = (0..<granules).map { bits >> $0 & 1 == 1 }
        for count in 1...4 {
          for align in [8, 16, 32, 48, 64, 128] as [UInt64] {
            for from in [0, 1, 3] {
              try expectEqualPlaces(
                taken, count: count, start: from, chunkStart: start, order: 4,
                fit: .aligned(align))
            }
          }
        }
      }
    }
  }

  @Test(arguments: [1, 2, 3] as [UInt64])
  func `runs across word borders are found where the reference model finds them`(seed: UInt64)
    throws
  {
    var random = SplitMix64(seed: seed)
    for _ in 0..<4000 {
      let granules = Int.random(in: 50...330, using: &random)
      var taken = [Bool](repeating: false, count: granules)
      // Alternating runs of random lengths, some longer than a word.
      var index = 0
      var value = Bool.random(using: &random)
      while index < granules {
        let length = Int.random(in: 1...(Bool.random(using: &random) ? 6 : 140), using: &random)
        for granule in index..<min(granules, index + length) { taken[granule] = value }
        index += length
        value.toggle()
      }
      let count = Int.random(in: 1...(Bool.random(using: &random) ? 12 : 150), using: &random)
      let start = Bool.random(using: &random) ? 0 : Int.random(in: 0..<granules, using: &random)
      let chunkStart = UInt64.random(in: 1...64, using: &random) << 12
      for fit in [
        .first, .orderAligned, .best, .aligned(16 << UInt64.random(in: 0...8, using: &random)),
        .fixed(UInt64.random(in: 0..<UInt64(granules), using: &random) << 4),
      ] as [ReferenceFit] {
        try expectEqualPlaces(
          taken, count: count, start: start, chunkStart: chunkStart, order: 4, fit: fit)
      }
    }
  }

  @Test func `an alignment beyond every address finds nothing and ends`() throws {
    guard let bitmap = GranuleBitmap(count: GranuleCount(8), words: [1]) else {
      Issue.record("no memory")
      return
    }
    let request = Fit.Request(
      start: .zero, count: GranuleCount(1), chunkStart: ByteCount(0x1000),
      granule: GranuleSize(order: 0))
    for align in [1 << 62, 1 << 63, UInt64.max] {
      #expect(Fit.firstAligned(ByteCount(align)).place(request, in: bitmap) == nil)
    }
  }
}
