import GenPool
import Reference
import Testing

@testable import BrokerProtocol

/// The messages of a lease are coded by hand, and must be what Codable makes of them.
struct CanonicalCodingTests {
  // MARK: Random messages

  private struct Draw {
    var random: SplitMix64

    mutating func chance(_ one: Int) -> Bool { Int.random(in: 0..<one, using: &random) == 0 }

    mutating func maybe<Value>(_ value: Value) -> Value? { chance(2) ? value : nil }

    /// Mostly what a lease has; sometimes what takes an escape, or is not ASCII.
    mutating func text() -> String {
      let odd = [
        "", "\"", "\\", "a/b", "\u{1}", "\u{7f}", "é", "日本", "{", "},", "\n\t", "\u{1F600}",
      ]
      let texts = chance(3) ? odd : ["cmb", "0000:01:00.0/2", "8f0c1d2e3b4a5968", "uid-exclusive"]
      return texts.randomElement(using: &random) ?? ""
    }

    mutating func integer() -> Int64 {
      let edges: [Int64] = [0, -1, 1, 9, 10, .max, .min, .max - 1, .min + 1, 1 << 53]
      return chance(3)
        ? edges.randomElement(using: &random) ?? 0
        : Int64(truncatingIfNeeded: random.next()) >> Int64.random(in: 0..<64, using: &random)
    }

    /// One in some cannot be sent: varlink's integers are signed.
    mutating func bytes() -> ByteCount {
      chance(30) ? ByteCount(UInt64.max) : ByteCount(UInt64(integer().magnitude) & ~(1 << 63))
    }

    mutating func acquire() -> Broker1.Acquire.Parameters {
      .init(
        pool: maybe(text()), bytes: bytes(), alignment: maybe(bytes()),
        fit: maybe(.init(rawValue: text())), offset: maybe(bytes()), requestKey: maybe(text()),
        wait: maybe(.init(rawValue: integer())), label: maybe(text()))
    }

    mutating func release() -> Broker1.Release.Parameters {
      .init(lease: .init(rawValue: text()), generation: .init(rawValue: integer()))
    }

    mutating func lease() -> Broker1.Acquire.Reply {
      .init(
        lease: .init(
          lease: .init(rawValue: text()), generation: .init(rawValue: integer()), pool: text(),
          offset: bytes(), size: bytes(), physical: maybe(PhysicalAddress(random.next())),
          bus: maybe(BusAddress(random.next())), mapOffset: bytes(), caching: text(),
          isolation: text(), uid: .init(rawValue: UInt32(truncatingIfNeeded: integer())),
          pid: .init(rawValue: Int32(truncatingIfNeeded: integer())),
          state: .init(rawValue: text()),
          label: maybe(text())), descriptor: Int(integer()))
    }

    /// `frame` with up to three bytes lost, doubled, changed or moved in from elsewhere.
    mutating func damaged(_ frame: [UInt8]) -> [UInt8] {
      var frame = frame
      for _ in 0...Int.random(in: 0..<3, using: &random) where !frame.isEmpty {
        let index = Int.random(in: 0..<frame.count, using: &random)
        switch Int.random(in: 0..<6, using: &random) {
        case 0: frame.remove(at: index)
        case 1: frame.insert(frame[index], at: index)
        case 2:
          frame[index] = Array("{}[]\",:-.0123e \\utn".utf8).randomElement(using: &random) ?? 0
        case 3: frame[index] = UInt8(truncatingIfNeeded: random.next())
        case 4:
          frame.insert(
            contentsOf: [" ", "-", "0", ",", "null", "true"].map { Array($0.utf8) }
              .randomElement(using: &random) ?? [], at: index)
        default:
          let end = Int.random(in: index..<frame.count, using: &random)
          frame.insert(contentsOf: frame[index...end], at: index)
        }
      }
      return frame
    }
  }

  private func draw(_ seed: UInt64) -> Draw { Draw(random: SplitMix64(seed: seed)) }

  // MARK: Writing

  private func outcome(of body: () throws -> [UInt8]) -> Result<[UInt8], any Error> {
    Result { try body() }
  }

  private func expectSame(
    _ ours: Result<[UInt8], any Error>, _ codable: Result<[UInt8], any Error>
  ) {
    func text(_ result: Result<[UInt8], any Error>) -> String {
      switch result {
      case .success(let bytes): String(decoding: bytes, as: UTF8.self)
      case .failure(let error): "refused: \(error)"
      }
    }
    #expect(text(ours) == text(codable))
  }

  @Test(arguments: 0..<20 as Range<UInt64>)
  func `what is written by hand is what Codable writes, refusals too`(seed: UInt64) {
    var draw = draw(seed)
    for _ in 0..<100 {
      let (oneway, more) = (draw.chance(2), draw.chance(2))
      let acquire = Call(Broker1.Acquire.self, draw.acquire(), oneway: oneway, more: more)
      expectSame(outcome { try acquire.frame() }, outcome { try acquire.codableFrame() })
      let release = Call(Broker1.Release.self, draw.release(), oneway: oneway, more: more)
      expectSame(outcome { try release.frame() }, outcome { try release.codableFrame() })
      let lease = draw.lease()
      expectSame(
        outcome { try Reply.frame(lease, continues: more) },
        outcome { try Reply.codableFrame(lease, continues: more) })
      expectSame(
        outcome { try Reply.frame(EmptyReply(), continues: more) },
        outcome { try Reply.codableFrame(EmptyReply(), continues: more) })
    }
  }

  // MARK: Reading

  /// All that a broker or a client can learn of a call, in words.
  private func account(of call: ReceivedCall) -> String {
    func text<P: VarlinkParameters>(_ type: P.Type) -> String {
      do { return "\(try call.parameters(as: type))" } catch { return "refused: \(error)" }
    }
    return """
      \(call.method) \(call.oneway) \(call.more) \(call.upgrade)
      \(text(Broker1.Acquire.Parameters.self))
      \(text(Broker1.Release.Parameters.self))
      \(text(NoParameters.self))
      """
  }

  private func account(of reply: ReceivedReply) -> String {
    func text<Method: VarlinkMethod>(_ method: Method.Type) -> String {
      do { return "\(try reply.result(of: method))" } catch { return "refused: \(error)" }
    }
    return """
      \(reply.continues) \(reply.errorName ?? "none")
      \(text(Broker1.Acquire.self))
      \(text(Broker1.Release.self))
      \(text(Broker1.Detach.self))
      """
  }

  private func account<Message>(
    _ read: () throws -> Message, _ describe: (Message) -> String
  ) -> String {
    do { return describe(try read()) } catch { return "refused: \(error)" }
  }

  private func expectSameCall(_ frame: [UInt8]) {
    #expect(
      account({ try ReceivedCall(frame: frame) }, account(of:))
        == account({ try ReceivedCall(byCodable: frame) }, account(of:)),
      "\(String(decoding: frame, as: UTF8.self))")
  }

  private func expectSameReply(_ frame: [UInt8]) {
    #expect(
      account({ try ReceivedReply(frame: frame) }, account(of:))
        == account({ try ReceivedReply(byCodable: frame) }, account(of:)),
      "\(String(decoding: frame, as: UTF8.self))")
  }

  @Test(arguments: 0..<20 as Range<UInt64>)
  func `what is read by hand is what Codable reads, of damaged frames too`(seed: UInt64) {
    var draw = draw(seed)
    for _ in 0..<50 {
      let (oneway, more) = (draw.chance(2), draw.chance(2))
      let calls = [
        try? Call(Broker1.Acquire.self, draw.acquire(), oneway: oneway, more: more).frame(),
        try? Call(Broker1.Release.self, draw.release(), oneway: oneway, more: more).frame(),
        try? Call(Broker1.ListPools.self, .init(), more: more).frame(),
      ]
      for frame in calls.compactMap({ $0?.dropLast() }) {
        expectSameCall(Array(frame))
        for _ in 0..<8 { expectSameCall(draw.damaged(Array(frame))) }
      }
      let replies = [
        try? Reply.frame(draw.lease(), continues: more), try? Reply.frame(EmptyReply()),
        try? Reply.frame(error: .noPool),
      ]
      for frame in replies.compactMap({ $0?.dropLast() }) {
        expectSameReply(Array(frame))
        for _ in 0..<8 { expectSameReply(draw.damaged(Array(frame))) }
      }
    }
  }

  @Test(arguments: [
    "0", "-1", "9", "10", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
    "-9223372036854775809", "99999999999999999999", "-0", "00", "01", "-01", "1.0", "1e0", "-", "",
    "+1", "\"1\"", "null", "true",
  ])
  func `an integer is read by hand as by Codable`(_ text: String) {
    expectSameCall(
      Array(
        #"{"method":"io.genpool.Broker1.Release","parameters":{"generation":\#(text),"lease":"8f"}}"#
          .utf8))
    expectSameCall(
      Array(#"{"method":"io.genpool.Broker1.Acquire","parameters":{"bytes":\#(text)}}"#.utf8))
  }

  @Test func `the frames of a lease are read by hand`() throws {
    let lease = Broker1.Lease(
      lease: LeaseID(rawValue: "8f"), generation: Generation(rawValue: 3), pool: "0000:01:00.0/2",
      offset: .zero, size: .kibibytes(64), physical: PhysicalAddress(0x1000), bus: nil,
      mapOffset: .zero, caching: "write-combining", isolation: "cooperative",
      uid: UID(rawValue: 0), pid: PID(rawValue: 1), state: .leased, label: "slurm job 12")
    let acquire = try Call(Broker1.Acquire.self, .init(bytes: 1, label: "slurm job 12")).frame()
    let release = Call(
      Broker1.Release.self, .init(lease: lease.lease, generation: lease.generation), oneway: true)
    #expect(CanonicalCall(frame: acquire.dropLast()) != nil)
    #expect(CanonicalCall(frame: try release.frame().dropLast()) != nil)
    let reply = try Reply.frame(Broker1.Acquire.Reply(lease: lease, descriptor: 0))
    #expect(CanonicalReply(frame: reply.dropLast()) != nil)
    #expect(CanonicalReply(frame: try Reply.frame(EmptyReply()).dropLast()) != nil)
  }
}
