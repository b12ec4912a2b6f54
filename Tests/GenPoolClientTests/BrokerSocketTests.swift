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
}
