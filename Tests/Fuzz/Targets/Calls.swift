import BrokerProtocol

extension FuzzTarget {
  /// A frame as the broker gets it: envelope, then the parameters of the method that it names.
  ///
  /// What was decoded can be encoded, and decodes to itself; so does the error for what was
  /// refused. What was read by hand is what Codable reads.
  static let calls = FuzzTarget(name: "calls") { bytes in
    var decoder = FrameDecoder(limit: FrameDecoder.callLimit)
    decoder.append(bytes + [0])
    do throws(MalformedMessage) {
      while let frame = try decoder.next() {
        let call = try ReceivedCall(frame: frame)
        precondition(call.interface.isEmpty || call.method.hasPrefix(call.interface + "."))
        let codable = try ReceivedCall(byCodable: frame)
        precondition(
          call.method == codable.method && call.oneway == codable.oneway
            && call.more == codable.more && call.upgrade == codable.upgrade,
          "an envelope is read one way")
        check(call, codable, as: Methods.method(call.method))
      }
    } catch {
      precondition(!error.description.isEmpty)
    }
  }

  private static func check<Method: VarlinkMethod>(
    _ call: ReceivedCall, _ codable: ReceivedCall, as method: Method.Type
  ) {
    let parameters: Method.Parameters
    do throws(BrokerError) {
      parameters = try call.parameters(as: Method.Parameters.self)
    } catch {
      guard case .invalidParameter(let name) = error, !name.isEmpty else {
        preconditionFailure("parameters are refused by name, not by \(error)")
      }
      FuzzTarget.checkRoundTrip(of: error)
      return
    }
    precondition(
      parameters == (try? codable.parameters(as: Method.Parameters.self)),
      "parameters are read one way")
    _ = (parameters as? Broker1.Acquire.Parameters)?.wait?.duration
    do {
      let sent = Call(Method.self, parameters, oneway: call.oneway, more: call.more)
      let again = try ReceivedCall(frame: Methods.frame(sent.frame()))
      precondition(again.method == Method.name, "a call names its method")
      precondition(again.oneway == call.oneway && again.more == call.more, "options are kept")
      let parametersAgain = try again.parameters(as: Method.Parameters.self)
      precondition(parametersAgain == parameters, "a call decodes to itself")
    } catch {
      preconditionFailure("what was decoded can be sent: \(error)")
    }
  }
}
