import BrokerProtocol
import Testing

@Suite struct BrokerSocketTests {
  @Test(
    arguments: [
      (["GENPOOL_SOCKET": "/a"], 0, "/a"),
      (["GENPOOL_SOCKET": "/a", "XDG_RUNTIME_DIR": "/run/user/7"], 7, "/a"),
      (["GENPOOL_SOCKET": ""], 0, "/run/genpool/io.genpool.Broker1"),
      (["XDG_RUNTIME_DIR": "/run/user/0"], 0, "/run/genpool/io.genpool.Broker1"),
      (["XDG_RUNTIME_DIR": "/run/user/7"], 7, "/run/user/7/genpool/io.genpool.Broker1"),
      ([:], 7, "/run/genpool/io.genpool.Broker1"),
    ] as [([String: String], UInt32, String)])
  func `the rule of the default socket`(
    environment: [String: String], uid: UInt32, path: String
  ) {
    #expect(BrokerSocket(environment: environment, uid: uid).path == path)
  }

  @Test(arguments: [("/a", "/a.admin"), ("@a", "@a.admin"), ("/a.admin", "/a.admin")])
  func `the admins' socket is beside the clients'`(path: String, admin: String) {
    let socket = BrokerSocket(path: path)
    #expect(socket.admin.path == admin && socket.admin.isAdmin)
    #expect(socket.isAdmin == (path == admin))
  }
}
