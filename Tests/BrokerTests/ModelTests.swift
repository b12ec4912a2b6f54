import Broker
import BrokerProtocol
import DeviceMemory
import Foundation
import GenPool
import Reference
import SystemPackage
import Testing

extension BrokerTests {
  /// Many clients, and random sequences against what a lease table has to be.
  struct ModelTests {
    @Test func `two hundred clients at once never share a byte`() throws {
      let broker = try TestBroker([.init(address: "0000:01:00.0", size: .mebibytes(16))])
      let clients = try (0..<200).map { _ in try broker.client() }
      DispatchQueue.concurrentPerform(iterations: clients.count) { seat in
        do {
          for round in 0..<5 {
            let held = try clients[seat].acquire(.kibibytes(16))
            let region = try held.map()
            let clean = try region.read(at: .zero, count: held.lease.size)
            #expect(clean.allSatisfy { $0 == 0 })
            let mark = [UInt8](
              repeating: UInt8(truncatingIfNeeded: seat + round + 1), count: clean.count)
            try region.write(mark, at: .zero)
            #expect(try region.read(at: .zero, count: held.lease.size) == mark)
            try clients[seat].release(held.lease)
          }
        } catch {
          Issue.record("client \(seat): \(error)")
        }
      }
      let pool = try broker.client().waitUntilClean()
      #expect(pool.available == pool.size && pool.leases == 0)
    }

    /// What the table has to be: who has which bytes of which pool.
    private struct Model {
      struct Held {
        let lease: Broker1.Lease
        let actor: Int
      }

      var held: [LeaseID: Held] = [:]

      func expectDisjoint(_ lease: Broker1.Lease) {
        for other in held.values.map(\.lease) where other.pool == lease.pool {
          let isApart =
            other.offset + other.size <= lease.offset || lease.offset + lease.size <= other.offset
          #expect(isApart, "\(lease) overlaps \(other)")
        }
      }
    }

    @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 8] as [UInt64])
    func `random calls, crashes and silences keep to the model`(seed: UInt64) throws {
      var random = SplitMix64(seed: seed)
      let broker = try TestBroker(
        [
          .init(address: "0000:01:00.0", size: .kibibytes(256), isolation: .cooperative),
          .init(address: "0000:02:00.0", size: .kibibytes(512), isolation: .uidExclusive),
        ],
        attached: [
          .init(device: "0000:01:00.0", bar: 0, name: "pool0"),
          .init(device: "0000:02:00.0", bar: 0, granule: .kibibytes(16), name: "pool1"),
        ], configure: { $0.scrubSlice = .kibibytes(32) })
      let watcher = try broker.admin()
      var actors = try (0..<4).map { _ in try TestProcess(broker) }
      var model = Model()

      for step in 0..<300 {
        let actor = random.next(below: actors.count)
        switch random.next(below: 100) {
        case ..<55:
          let request = Broker1.Acquire.Parameters(
            pool: [nil, "pool0", "pool1"][random.next(below: 3)],
            bytes: ByteCount(UInt64(1 + random.next(below: 64 * 1024))),
            fit: [nil, .first, .best, .orderAligned][random.next(below: 4)])
          do {
            let held = try actors[actor].connection().acquire(request)
            model.expectDisjoint(held.lease)
            #expect(held.lease.size >= request.bytes)
            let region = try held.map()
            let bytes = try region.read(at: .zero, count: held.lease.size)
            #expect(bytes.allSatisfy { $0 == 0 }, "step \(step)")
            try region.write([UInt8](repeating: 0xee, count: bytes.count), at: .zero)
            model.held[held.lease.lease] = .init(lease: held.lease, actor: actor)
          } catch ReplyError.broker(let error) {
            // Refused only for want of room.
            #expect([ENOMEM, ENOSPC].contains(error.errno.rawValue), "step \(step): \(error)")
          }
        case ..<95:
          guard
            let held = model.held.values.sorted(by: {
              $0.lease.lease.rawValue < $1.lease.lease.rawValue
            })
            .first(where: { _ in random.next(below: 3) == 0 })
          else { continue }
          if held.actor == actor {
            try actors[actor].connection().release(held.lease)
            model.held[held.lease.lease] = nil
          } else {
            #expect(throws: ReplyError.broker(.permissionDenied)) {
              try actors[actor].connection().release(held.lease)
            }
          }
        case ..<98:
          // A crash, and somebody new.
          actors[actor].kill()
          actors[actor] = try TestProcess(broker)
          model.held = model.held.filter { $0.value.actor != actor }
        default:
          // Silence keeps everything, until the end.
          actors[actor].hangUp()
          _ = try wait(for: "the silence to be noticed") {
            let leases = try watcher.call(Broker1.ListLeases.self, .init()).leases
            return leases.allSatisfy { $0.pid != actors[actor].pid || $0.state != .leased }
              ? true : nil
          }
          actors[actor].kill()
          actors[actor] = try TestProcess(broker)
          model.held = model.held.filter { $0.value.actor != actor }
        }
      }

      let expected = Set(model.held.keys)
      try wait(for: "the dead to be buried") {
        let listed = try watcher.call(Broker1.ListLeases.self, .init()).leases
        return Set(listed.filter { $0.state == .leased }.map(\.lease)) == expected
      }
      for name in ["pool0", "pool1"] {
        let pool = try watcher.waitUntilClean(name)
        let held = model.held.values.map(\.lease).filter { $0.pool == name }
        #expect(pool.leases == held.count, "seed \(seed)")
        #expect(pool.leased == held.reduce(ByteCount.zero) { $0 + $1.size })
        #expect(pool.available + pool.leased == pool.size)
      }
      for actor in actors { actor.kill() }
      for name in ["pool0", "pool1"] {
        try wait(for: "\(name) to be whole again") {
          let pool = try watcher.pool(name)
          return pool.available == pool.size && pool.largestFree == pool.size
        }
      }
    }
  }
}
