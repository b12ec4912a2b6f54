import GenPool
import Reference
import Testing

/// Long random lives of pools beside the reference model's: every answer and every state equal.
struct RandomisedTests {
  @Test(arguments: 1...24 as ClosedRange<UInt64>)
  func `a pool answers as the reference model over a long life`(seed: UInt64) throws {
    var random = SplitMix64(seed: seed)
    let order = UInt64.random(in: 0...12, using: &random)
    var model = ReferenceModel(order: order)
    let pool = Pool(granule: GranuleSize(order: Int(order)))
    var next: UInt64 = 0x1_0000

    func addChunk() throws {
      let granules = UInt64.random(in: 0...200, using: &random)
      let size = granules << order + UInt64.random(in: 0..<(1 << order), using: &random)
      let start = next + UInt64.random(in: 0...3, using: &random) << (order / 2)
      let physical =
        Bool.random(using: &random) ? UInt64.random(in: 1...99, using: &random) << 20 : nil
      let owner = Bool.random(using: &random) ? UInt.random(in: 1...9, using: &random) : nil
      model.add(start: start, size: size, physical: physical, owner: owner)
      try pool.add(
        start: VirtualAddress(start), size: ByteCount(size),
        physical: physical.map(PhysicalAddress.init), owner: owner.map(Owner.init))
      next = start + size + UInt64.random(in: 0...1, using: &random) << order
    }

    try addChunk()
    var held: [(UInt64, UInt64)] = []
    for step in 0..<1500 {
      if step % 400 == 200 { try addChunk() }
      if Int.random(in: 0..<100, using: &random) < 55 {
        let most = Bool.random(using: &random) ? 6 : 60 as UInt64
        let size = UInt64.random(in: 0...(most << order), using: &random)
        let fit: ReferenceFit =
          switch Int.random(in: 0..<6, using: &random) {
          case 0: .aligned(UInt64.random(in: 1...(8 << order), using: &random))
          case 1: .aligned(1 << UInt64.random(in: 0...(order + 4), using: &random))
          case 2: .orderAligned
          case 3: .best
          case 4: .fixed(UInt64.random(in: 0...120, using: &random) << order)
          default: .first
          }
        let expected = model.allocate(size, fit)
        let got = answer { () throws(PoolError) in
          let allocation = try pool.allocate(ByteCount(size), fit: fit.fit)
          return (allocation.start, allocation.owner)
        }
        #expect(got == expected, "seed \(seed) step \(step): allocate \(size) \(fit)")
        if case .address(let start, _) = expected { held.append((start, size)) }
      } else if let index = held.indices.randomElement(using: &random) {
        var (start, size) = held.remove(at: index)
        switch Int.random(in: 0..<6, using: &random) {
        case 0:  // The upper half.
          start += size / 2
          size -= size / 2
        case 1:  // Into whatever comes behind.
          size += 3 << order
        case 2:  // From anywhere.
          start = UInt64.random(in: 0x1_0000 - 4..<next + 4, using: &random)
        default: break
        }
        let expected = model.free(start, size)
        let got = answer { () throws(PoolError) in
          (VirtualAddress(start), try pool.free(VirtualAddress(start), size: ByteCount(size)))
        }
        #expect(got == expected, "seed \(seed) step \(step): free \(start) \(size)")
      }
      #expect(pool.available.rawValue == model.available, "seed \(seed) step \(step)")
      if step % 50 == 0 {
        #expect(
          pool.freeRuns().map { [$0.start.rawValue, $0.size.rawValue] } == model.freeRuns,
          "seed \(seed) step \(step)")
        pool.checkInvariants()
      }
    }
  }

  private func answer(
    _ body: () throws(PoolError) -> (VirtualAddress, Owner?)
  ) -> ReferenceModel.Answer {
    do {
      let (start, owner) = try body()
      return .address(start.rawValue, owner: owner?.rawValue)
    } catch {
      return .refused
    }
  }
}
