import Broker
import BrokerProtocol
import DeviceMemory
import Foundation
import GenPool
import LinuxSystem
import Reference
import Synchronization
import SystemPackage
import Testing

@testable import genpool_bench

extension BrokerTests {
  /// Pools whose calls are written down: played again, every answer is the same.
  struct RecordingTests {
    private let directory =
      FileManager.default.temporaryDirectory.path()
      + "genpool-records-\(UUID().uuidString)"

    /// Runs `body` with an empty directory to record in.
    private func withDirectory(_ body: () throws -> Void) throws {
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      defer { try? FileManager.default.removeItem(atPath: directory) }
      try body()
    }

    private func broker(
      _ name: String = "pool0", in directory: String?, isolation: Isolation = .cooperative,
      prepare: @escaping @Sendable (LeaseBroker) throws -> Void = { _ in }
    ) throws -> TestBroker {
      try TestBroker(
        [
          // Not aligned to more than a page, so that it matters which address is aligned.
          .init(
            address: "0000:01:00.0", size: .kibibytes(260),
            physical: PhysicalAddress(0x80_0000_3000), bus: nil, isolation: isolation)
        ], attached: [.init(device: "0000:01:00.0", bar: 0, name: name)],
        configure: {
          $0.recordDirectory = directory
          $0.scrubSlice = .kibibytes(16)
        }, prepare: prepare)
    }

    /// Has a broker record somewhere else, as a reload does.
    private final class Change: Sendable {
      private let event: EventCounter
      private let directory = Mutex<String?>(nil)

      init() throws {
        event = try EventCounter()
      }

      func join(_ broker: LeaseBroker) throws {
        try broker.watch(event.rawValue) { [self] broker in
          event.clear()
          broker.reconfigure { $0.recordDirectory = directory.withLock { $0 } }
        }
      }

      func record(in directory: String?) {
        self.directory.withLock { $0 = directory }
        event.raise()
      }
    }

    /// What is in the files there, by name.
    private func records() throws -> [(name: String, text: String)] {
      try FileManager.default.contentsOfDirectory(atPath: directory).sorted().map {
        ($0, try String(contentsOfFile: directory + "/" + $0, encoding: .utf8))
      }
    }

    private func expectReplayed(_ text: String) throws {
      var replayer = Replayer()
      replayer.replay(try Trace(parsing: text))
      #expect(replayer.recordCount > 3)
      for mismatch in replayer.mismatches.prefix(3) {
        Issue.record("\(mismatch.record.text): got \(mismatch.got)")
      }
    }

    /// Leases and releases at random: every fit and alignment, failures and waits among them.
    private func live(_ client: TestClient, seed: UInt64, steps: Int = 400) throws {
      var random = SplitMix64(seed: seed)
      var held: [Broker1.Lease] = []
      for _ in 0..<steps {
        if !held.isEmpty, random.next(below: 5) < 2 {
          try client.release(held.remove(at: random.next(below: held.count)))
          continue
        }
        let fit: [Broker1.FitName?] = [nil, .first, .best, .orderAligned, .fixed]
        var request = Broker1.Acquire.Parameters(
          bytes: ByteCount(UInt64(1 + random.next(below: 60_000))),
          fit: fit[random.next(below: fit.count)],
          wait: random.next(below: 2) == 0 ? Milliseconds(rawValue: 0) : nil)
        if request.fit == .fixed {
          request.offset = ByteCount(UInt64(random.next(below: 50)) * 4096)
        }
        if request.fit == nil {
          request.alignment = ByteCount(4096 << UInt64(random.next(below: 6)))
        }
        do {
          let lease = try client.acquire(request).lease
          if let alignment = request.alignment {
            #expect(lease.physical?.isAligned(to: alignment) == true)
          }
          held.append(lease)
        } catch is ReplyError {}
      }
      for lease in held { try client.release(lease) }
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `a pool's life at random is played again exactly`(seed: UInt64) throws {
      try withDirectory {
        let broker = try broker(in: directory)
        try live(broker.client(), seed: seed)
        broker.stop()
        let record = try #require(try records().first)
        #expect(record.name.wholeMatch(of: /pool0-\d{8}T\d{6}Z\.gpt/) != nil)
        #expect(record.text.hasPrefix("GENPOOL-TRACE 1 pool0\nP c\n"))
        #expect(record.text.contains(" = 0 0\n"), "there were failures")
        #expect(record.text.contains(" al:8000 = 80000"), "there were alignments")
        try expectReplayed(record.text)
      }
    }

    @Test func `each line is in the file when its call is answered`() throws {
      try withDirectory {
        let broker = try broker(in: directory)
        let client = try broker.client()
        _ = try client.waitUntilClean()
        let before = try #require(try records().first).text
        let file = "\(directory)/\(try #require(try records().first).name)"
        let mode = try FileManager.default.attributesOfItem(atPath: file)[.posixPermissions] as? Int
        #expect(mode.map { $0 & 0o027 } == 0, "nobody else reads who has what")
        _ = try client.acquire(4096)
        let after = try #require(try records().first).text
        #expect(after.dropFirst(before.count).hasSuffix(" 1000 ff = 8000003000 0\n"))
        _ = broker
      }
    }

    @Test func `a record that begins in the middle begins with what is allocated`() throws {
      try withDirectory {
        let change = try Change()
        let broker = try broker(in: nil) { try change.join($0) }
        let client = try broker.client()
        try live(client, seed: 4)
        for seed in [5, 6] as [UInt64] {
          let number = try records().count
          let holder = try broker.client()
          let kept = try [4096, 8192].map { try holder.acquire($0).lease }
          change.record(in: directory)
          try wait(for: "the record") { try records().count == number + 1 }
          try live(client, seed: seed)
          for lease in kept { try holder.release(lease) }
          _ = try client.waitUntilClean()
          change.record(in: nil)
          // Answered after the change.
          _ = try client.call(Broker1.Hello.self, .init())
          let before = try records().map(\.text)
          try live(client, seed: seed, steps: 20)
          #expect(try records().map(\.text) == before, "nothing is written any more")
        }
        let all = try records()
        #expect(all.count == 2)
        for record in all { try expectReplayed(record.text) }
      }
    }

    @Test func `a record goes on while the next one cannot begin`() throws {
      try withDirectory {
        let change = try Change()
        let broker = try broker(in: directory) { try change.join($0) }
        let client = try broker.client()
        func pool() throws -> Broker1.Pool {
          try client.call(Broker1.DescribePool.self, .init(pool: "pool0")).pool
        }
        let file = try #require(try pool().recordFile)
        #expect(file.hasPrefix(directory + "/pool0-"))
        change.record(in: directory + "/none")
        try wait(for: "the refusal") { try pool().recordFailure != nil }
        #expect(try pool().recordFile == file)
        #expect(try pool().recordFailure?.hasPrefix("create \(directory)/none/pool0-") == true)
        #expect(broker.log.lines("not recorded").first?.contains("the old record goes on") == true)
        #expect(broker.log.lines("record ends").isEmpty)
        try live(client, seed: 7)

        try FileManager.default.createDirectory(
          atPath: directory + "/none", withIntermediateDirectories: true)
        change.record(in: directory + "/none")
        try wait(for: "the next record") { try pool().recordFile != file }
        #expect(try pool().recordFailure == nil)
        let ends = broker.log.lines("record ends")
        let text = try String(contentsOfFile: file, encoding: .utf8)
        let lineCount = text.split(separator: "\n").count
        #expect(ends.count == 1 && ends[0].contains("file=\(file) lines=\(lineCount) pool=pool0"))
        try expectReplayed(text)

        change.record(in: nil)
        try wait(for: "the end") { try pool().recordFile == nil }
        #expect(broker.log.lines("record ends").count == 2)
      }
    }

    @Test func `no record is written over, however quickly the next begins`() throws {
      try withDirectory {
        let broker = try broker(in: directory)
        let client = try broker.admin()
        for _ in 0..<5 {
          _ = try client.call(Broker1.Detach.self, .init(pool: "pool0"))
          _ = try client.call(
            Broker1.Attach.self, .init(device: "0000:01:00.0", bar: 0, name: "pool0"))
          _ = try client.waitUntilClean()
        }
        let all = try records()
        #expect(all.count == 6)
        for record in all { try expectReplayed(record.text) }
      }
    }

    @Test func `a pool's name cannot lead out of the directory`() throws {
      try withDirectory {
        let name = "../../etc/=#'$x"
        let broker = try broker(name, in: directory)
        _ = try broker.client().waitUntilClean(name)
        let record = try #require(try records().first)
        #expect(record.name.hasPrefix("_._.._etc_____x-"))
        #expect(record.text.hasPrefix("GENPOOL-TRACE 1 \(name)\n"))
        try expectReplayed(record.text)
      }
    }

    @Test func `a pool that cannot be recorded is leased all the same`() throws {
      let broker = try broker(in: directory)
      _ = try broker.client().acquire(4096)
      let line = try #require(broker.log.lines("not recorded").first)
      #expect(line.contains("cause=create \(directory)/pool0-"))
      #expect(line.contains(": no such file or directory") && line.contains("pool=pool0"))
    }

    @Test(.enabled(if: getuid() == 0, "only root can be another user"))
    func `that a pool is erased for its next user is recorded`() throws {
      try withDirectory {
        let broker = try broker(in: directory, isolation: .uidExclusive)
        for uid in [4242, 4243, 4242] as [Int32] {
          let process = try TestProcess(broker, uid: uid)
          try process.connection().acquire(4096)
          process.kill()
        }
        _ = try broker.client().waitUntilClean()
        broker.stop()
        try expectReplayed(try #require(try records().first).text)
      }
    }
  }
}
