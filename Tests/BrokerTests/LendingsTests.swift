import BrokerProtocol
import DeviceMemory
import GenPool
import Reference
import Testing

@testable import Broker

/// The bookkeeping of leases that may be reached after their end, against a kernel that is a set.
@Suite struct LendingsTests {
  @Test func `a lending is over when its lease has ended and nothing of it is left`() {
    var lendings = Lendings()
    let lending = Lending(rawValue: 1)
    lendings.begin(lending, of: UID(rawValue: 1000))
    #expect(lendings.takeUnreached(limit: 10) { _ in .free }.isEmpty, "its lease goes on")
    #expect(
      lendings.anyUser == UID(rawValue: 1000)
        && lendings.user(otherThan: UID(rawValue: 1000)) == nil)
    lendings.endAll()
    for answer in [WitnessAnswer.reached, .unknown] {
      #expect(lendings.takeUnreached(limit: 10) { _ in answer }.isEmpty)
      #expect(
        lendings.user(otherThan: UID(rawValue: 2000)) == UID(rawValue: 1000)
          && lendings.endedCount == 1)
    }
    #expect(lendings.takeUnreached(limit: 10) { _ in .free }.map(\.lending) == [lending])
    #expect(lendings.isEmpty && lendings.anyUser == nil)
  }

  @Test(arguments: [1, 3, 64]) func `every lending that is not reached is found`(limit: Int) {
    var random = SplitMix64(seed: UInt64(limit))
    var lendings = Lendings()
    var begun: Set<UInt64> = [], ended: Set<UInt64> = [], free: Set<UInt64> = []
    var last: UInt64 = 0
    for step in 0..<2000 {
      if step < 1500, random.next(below: 2) == 0 {
        last += 1
        begun.insert(last)
        lendings.begin(Lending(rawValue: last), of: UID(rawValue: UInt32(last % 3)))
      }
      if let one = begun.subtracting(free).randomElement(using: &random) { free.insert(one) }
      if step % 500 == 499 {
        lendings.endAll()
        ended.formUnion(begun)
      }
      var asked = 0
      let found = lendings.takeUnreached(limit: limit) { lending in
        asked += 1
        #expect(ended.contains(lending.rawValue), "its lease goes on")
        return free.contains(lending.rawValue) ? .free : .reached
      }
      #expect(asked <= limit)
      for one in found {
        #expect(free.contains(one.lending.rawValue))
        begun.remove(one.lending.rawValue)
      }
      #expect(lendings.isEmpty == begun.isEmpty)
      let users = Set(begun.map { UID(rawValue: UInt32($0 % 3)) })
      #expect(lendings.anyUser.map(users.contains) ?? users.isEmpty)
      for user in (0..<3 as Range<UInt32>).map(UID.init(rawValue:)) {
        #expect((lendings.user(otherThan: user) != nil) == !users.subtracting([user]).isEmpty)
      }
    }
    free.formUnion(begun)
    lendings.endAll()
    while !lendings.takeUnreached(limit: limit, { _ in .free }).isEmpty {}
    #expect(lendings.isEmpty && lendings.endedCount == 0)
  }
}
