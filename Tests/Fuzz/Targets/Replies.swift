import BrokerProtocol

extension FuzzTarget {
  /// A frame as the client gets it, after the name of the method that it called and a blank:
  /// `ListPools {"parameters":…}`.
  ///
  /// What was decoded, result or error, can be encoded and decodes to itself. What was read by hand
  /// is what Codable reads.
  static let replies = FuzzTarget(name: "replies") { bytes in
    let name = bytes.prefix { $0 != UInt8(ascii: " ") }
    let frame = Array(bytes.dropFirst(name.count + 1).prefix { $0 != 0 })
    do throws(MalformedMessage) {
      let reply = try ReceivedReply(frame: frame)
      let codable = try ReceivedReply(byCodable: frame)
      precondition(
        reply.continues == codable.continues && reply.errorName == codable.errorName,
        "an envelope is read one way")
      check(reply, codable, as: Methods.method(String(decoding: name, as: UTF8.self)))
    } catch {
      precondition(!error.description.isEmpty)
    }
  }

  private static func check<Method: VarlinkMethod>(
    _ reply: ReceivedReply, _ codable: ReceivedReply, as method: Method.Type
  ) {
    let result: Method.Reply
    do throws(ReplyError) {
      result = try reply.result(of: method)
    } catch {
      precondition(!error.description.isEmpty)
      switch error {
      case .broker(let error):
        _ = error.errno
        checkRoundTrip(of: error)
      case .unknown(let name): precondition(reply.errorName == name)
      case .malformed: break
      }
      return
    }
    precondition(result == (try? codable.result(of: method)), "a reply is read one way")
    do {
      let again = try ReceivedReply(
        frame: Methods.frame(Reply.frame(result, continues: reply.continues)))
      precondition(again.continues == reply.continues && again.errorName == nil)
      let resultAgain = try again.result(of: method)
      precondition(resultAgain == result, "a reply decodes to itself")
    } catch {
      preconditionFailure("what was decoded can be sent: \(error)")
    }
  }

  /// An error that was received can be sent, and is the same then.
  static func checkRoundTrip(of error: BrokerError) {
    do {
      let reply = try ReceivedReply(frame: Methods.frame(Reply.frame(error: error)))
      precondition(reply.errorName == error.name)
      do throws(ReplyError) {
        _ = try reply.result(of: Broker1.ListPools.self)
        preconditionFailure("an error is no result")
      } catch .broker(let again) {
        precondition(again == error, "an error decodes to itself")
      } catch {
        preconditionFailure("an error decodes to itself, not to \(error)")
      }
    } catch {
      preconditionFailure("what was decoded can be sent: \(error)")
    }
  }
}
