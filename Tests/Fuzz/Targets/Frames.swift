import BrokerProtocol

extension FuzzTarget {
  /// A stream of bytes, cut into frames.
  ///
  /// - Where the stream is split between `append`s does not matter.
  /// - What is kept never exceeds the limit once the frames are taken.
  /// - The frames, with a NUL after each, are the stream.
  static let frames = FuzzTarget(name: "frames") { bytes in
    for limit in [8, 64, FrameDecoder.callLimit] {
      let whole = Cut(bytes, limit: limit) { bytes.count }
      whole.check(against: bytes, limit: limit)
      // Pieces of up to 1, 2, 4 … 128 bytes.
      var state = digest(bytes)
      let pieces = Cut(bytes, limit: limit) {
        state = state &* 0x5851_f42d_4c95_7f2d &+ 0x1405_7b7e_f767_814f
        return 1 + Int(state >> 33 % (1 << (state >> 61)))
      }
      precondition(pieces == whole, "splits change nothing")
    }
    let bytewise = Cut(bytes, limit: 64) { 1 }
    precondition(bytewise == Cut(bytes, limit: 64) { bytes.count }, "splits change nothing")
  }

  /// What a decoder makes of a stream.
  private struct Cut: Equatable {
    private(set) var frames: [[UInt8]] = []
    private(set) var failure: MalformedMessage?
    private(set) var rest = 0

    /// - Parameter length: how many bytes to append next.
    init(_ bytes: [UInt8], limit: Int, pieces length: () -> Int) {
      var decoder = FrameDecoder(limit: limit)
      var start = 0
      do throws(MalformedMessage) {
        while start < bytes.count {
          let end = min(bytes.count, start + length())
          decoder.append(bytes[start..<end])
          start = end
          while let frame = try decoder.next() { frames.append(frame) }
          precondition(decoder.pendingByteCount <= limit, "no more is kept than the limit")
        }
        rest = decoder.pendingByteCount
      } catch {
        failure = error
      }
    }

    func check(against bytes: [UInt8], limit: Int) {
      for frame in frames {
        precondition(frame.count <= limit && !frame.contains(0), "a frame is short and has no NUL")
      }
      let taken = Array(frames.map { $0 + [0] }.joined())
      precondition(bytes.starts(with: taken), "frames are what came, in its order")
      if let failure {
        precondition(failure == .tooLong(limit: limit))
        let length = bytes[taken.count...].prefix { $0 != 0 }.count
        precondition(length > limit, "only a frame above the limit is refused")
      } else {
        precondition(taken.count + rest == bytes.count, "nothing is lost")
        precondition(!bytes[taken.count...].contains(0), "every whole frame is given")
      }
    }
  }
}
