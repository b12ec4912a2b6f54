import BrokerLeases
import BrokerProtocol
import GenPool
import Reference
import Testing

/// The line of those that wait: looking only at what changed comes to the same as looking at all.
struct WaitingLineTests {
  @Test(arguments: 1...20)
  func `after every change, looking at all settles nothing more`(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    func number(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }
    let pools = (1...3).map { PlainPool($0, 64 * 4096) }
    let all = PlainPools(pools)
    let quotas = Quotas(defaults: .init(leases: 12))
    let leases = Leases<Int>(capacity: 40, quotas: quotas)
    var session = 0
    var held: [LeaseTable.Entry] = []
    var ended: [LeaseTable.Entry] = []

    func settle() {
      while leases.hasChanges {
        for one in leases.retry(
          over: all, while: { number(3) > 0 }, isThere: { _ in true }, lookAgain: { _ in },
          erase: { _ in })
        {
          if case .success(let lease) = one.result { held.append(lease) }
        }
      }
    }

    for step in 0..<400 {
      switch number(6) {
      case 0, 1, 2:
        session += 1
        let user = UID(rawValue: UInt32(1 + number(4)))
        let pool = number(4)
        let request = LeaseRequest(
          .init(
            pool: pool == 3 ? nil : pools[pool].name,
            bytes: ByteCount(UInt64(1 + number(24)) * 4096), wait: Milliseconds(rawValue: 1)),
          session: SessionID(rawValue: session), process: ProcessID(rawValue: session),
          user: user, account: user, pid: PID(rawValue: 1))
        let isPatient = number(2) == 0
        switch leases.decide(request, isPatient: isPatient, over: all, lookAgain: { _ in }) {
        case .granted(let lease): held.append(lease)
        case .denied: break
        case .mustWait(let wait):
          leases.park(request, for: wait, isPatient ? .unexpired : .scrubbing, session)
        }
      case 3:
        guard !held.isEmpty else { continue }
        let lease = held.remove(at: number(held.count))
        pools[lease.region.rawValue - 1].scrubbing += lease.size
        leases.quarantine(lease.id)
        ended.append(lease)
      case 4:
        guard !ended.isEmpty else { continue }
        let lease = ended.remove(at: number(ended.count))
        let pool = pools[lease.region.rawValue - 1]
        pool.scrubbing -= lease.size
        pool.available += lease.size
        leases.remove(lease.id)
        leases.noteChange(of: pool.id)
      default:
        if number(2) == 0 {
          leases.expire(SessionID(rawValue: 1 + number(max(1, session))))
        } else {
          _ = leases.unpark(SessionID(rawValue: 1 + number(max(1, session))))
        }
      }
      settle()
      leases.noteChange(of: nil)
      let missed = leases.retry(
        over: all, while: { true }, isThere: { _ in true }, lookAgain: { _ in }, erase: { _ in })
      #expect(missed.isEmpty, "step \(step): \(missed.map(\.pending.waiting))")
      guard missed.isEmpty else { return }
      settle()
    }
  }
}
