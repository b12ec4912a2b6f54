import BrokerProtocol

/// The interface that each varlink service has, `org.varlink.service`: the broker's name and
/// version, and the texts of its interfaces.
final class ServiceInterface {
  /// The version that GetInfo returns.
  var version: String
  /// The replies of GetInterfaceDescription so far, by interface: they are long, and always the
  /// same.
  private var descriptions: [String: OutputQueue.Message] = [:]

  init(version: String) {
    self.version = version
  }

  /// The reply to a call of GetInfo.
  func information(_ call: ReceivedCall) throws(BrokerError) -> OutputQueue.Message {
    try call.reply(of: VarlinkService.GetInfo.self) { _ in
      VarlinkService.GetInfo.Reply(
        vendor: "genpool", product: "genpoold", version: version, url: "",
        interfaces: [VarlinkService.interface, Broker1.interface])
    }
  }

  /// The reply to a call of GetInterfaceDescription.
  /// - Throws: InterfaceNotFound.
  func description(_ call: ReceivedCall) throws(BrokerError) -> OutputQueue.Message {
    let interface = try call.parameters(
      as: VarlinkService.GetInterfaceDescription.Parameters.self
    ).interface
    if let known = descriptions[interface] { return known }
    let text =
      switch interface {
      case Broker1.interface: Broker1.interfaceDescription
      case VarlinkService.interface: VarlinkService.interfaceDescription
      default: throw .interfaceNotFound(interface: interface)
      }
    let reply = try OutputQueue.Message(
      VarlinkService.GetInterfaceDescription.Reply(description: text))
    descriptions[interface] = reply
    return reply
  }
}
