import BrokerProtocol
import Glibc

extension OutputQueue.Message {
  /// A reply. What cannot be encoded is a fault of the broker or of the device's description.
  /// - Throws: DeviceError, EOVERFLOW, for a number that varlink's integers cannot hold.
  init(_ reply: some Encodable, continues: Bool = false) throws(BrokerError) {
    do throws(UnencodableMessage) {
      self.init(bytes: try Reply.frame(reply, continues: continues))
    } catch {
      throw .deviceError(
        operation: "describe", subject: error.field, errno: EOVERFLOW, cause: "too large")
    }
  }
}

extension ReceivedCall {
  /// Methods that change nothing.
  private static let questions: Set = [
    VarlinkService.GetInfo.name, VarlinkService.GetInterfaceDescription.name,
    Broker1.ListDevices.name, Broker1.ListPools.name, Broker1.DescribePool.name,
    Broker1.ListLeases.name,
  ]

  /// Whether its method changes nothing.
  var isQuestion: Bool { Self.questions.contains(method) }

  /// The reply of a method that answers at once. Its parameters are checked for type and name.
  func reply<Method: VarlinkMethod>(
    of method: Method.Type, by body: (Method.Parameters) throws(BrokerError) -> Method.Reply
  ) throws(BrokerError) -> OutputQueue.Message {
    try OutputQueue.Message(body(parameters(as: Method.Parameters.self)))
  }

  /// The error for a method that there is not.
  var unknownMethod: BrokerError {
    guard [Broker1.interface, VarlinkService.interface].contains(interface) else {
      return .interfaceNotFound(interface: interface)
    }
    return .methodNotFound(method: method)
  }
}
