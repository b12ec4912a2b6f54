import BrokerProtocol

/// The methods that the broker answers.
enum Methods {
  static let all: [any VarlinkMethod.Type] = {
    let methods: [any VarlinkMethod.Type] = [
      Broker1.Hello.self, Broker1.ListDevices.self, Broker1.ListPools.self,
      Broker1.DescribePool.self, Broker1.Acquire.self, Broker1.Release.self,
      Broker1.ForceRelease.self, Broker1.Monitor.self, Broker1.ListLeases.self,
      Broker1.Attach.self, Broker1.Detach.self, Broker1.DrainPool.self,
      VarlinkService.GetInfo.self, VarlinkService.GetInterfaceDescription.self,
    ]
    let names = Set(methods.map { $0.name })
    precondition(
      names == Broker1.methods.union(VarlinkService.methods),
      "every method of the interfaces is here")
    return methods
  }()

  /// The method `name`; for other names any, by the name.
  static func method(_ name: String) -> any VarlinkMethod.Type {
    all.first { $0.name == name } ?? all[Int(digest(Array(name.utf8)) % UInt64(all.count))]
  }

  /// The frame that `message` is, without its NUL.
  static func frame(_ message: [UInt8]) -> [UInt8] {
    precondition(
      message.last == 0 && message.count { $0 == 0 } == 1, "a message has one NUL, at its end")
    return Array(message.dropLast())
  }
}
