import BrokerProtocol
import Reference
import Testing

struct FrameDecoderTests {
  private let texts = ["{\"method\":\"a.B\"}", "{}", "", "{\"parameters\":{\"x\":\"é\"}}"]

  private var stream: [UInt8] { texts.flatMap { Array($0.utf8) + [0] } }

  private func frames(_ decoder: inout FrameDecoder) throws -> [String] {
    var frames: [String] = []
    while let frame = try decoder.next() { frames.append(String(decoding: frame, as: UTF8.self)) }
    return frames
  }

  @Test func `frames are the same wherever the stream is split in two`() throws {
    for split in 0...stream.count {
      var decoder = FrameDecoder(limit: 64)
      decoder.append(stream[..<split])
      var found = try frames(&decoder)
      decoder.append(stream[split...])
      found += try frames(&decoder)
      #expect(found == texts, "split at \(split)")
      #expect(decoder.pendingByteCount == 0)
    }
  }

  @Test func `frames are the same when the stream comes byte by byte`() throws {
    var decoder = FrameDecoder(limit: 64)
    var found: [String] = []
    for byte in stream {
      decoder.append([byte])
      found += try frames(&decoder)
    }
    #expect(found == texts)
  }

  @Test func `a stream cut off at any byte gives its whole frames and no other`() throws {
    for end in 0...stream.count {
      var decoder = FrameDecoder(limit: 64)
      decoder.append(stream[..<end])
      let whole = stream[..<end].count { $0 == 0 }
      #expect(try frames(&decoder) == Array(texts.prefix(whole)))
    }
  }

  @Test func `a frame of the limit passes and one byte more does not`() throws {
    var decoder = FrameDecoder(limit: 8)
    decoder.append(Array(repeating: 32, count: 8) + [0])
    #expect(try decoder.next()?.count == 8)
    decoder.append(Array(repeating: 32, count: 9) + [0])
    #expect(throws: MalformedMessage.tooLong(limit: 8)) { try decoder.next() }
  }

  @Test func `a frame above the limit is refused before it ends`() throws {
    var decoder = FrameDecoder(limit: 8)
    decoder.append(Array(repeating: 32, count: 8))
    #expect(try decoder.next() == nil)
    decoder.append([32])
    #expect(throws: MalformedMessage.tooLong(limit: 8)) { try decoder.next() }
  }

  @Test func `what waits is bounded by the limit as long as frames are taken`() throws {
    var decoder = FrameDecoder(limit: 100)
    for _ in 0..<1000 {
      decoder.append(stream)
      _ = try frames(&decoder)
      #expect(decoder.pendingByteCount <= 100)
    }
  }

  @Test(arguments: [1 as UInt64, 7, 42, 20_251_121])
  func `random bytes never trap and never give a frame with a NUL`(seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var decoder = FrameDecoder(limit: 50)
    for _ in 0..<5_000 {
      decoder.append((0..<random.next(below: 40)).map { _ in UInt8(random.next(below: 8)) })
      do {
        while let frame = try decoder.next() {
          #expect(!frame.contains(0) && frame.count <= 50)
          _ = try? ReceivedCall(frame: frame)
        }
      } catch {
        decoder = FrameDecoder(limit: 50)
      }
    }
  }
}
