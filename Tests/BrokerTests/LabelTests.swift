import Broker
import BrokerProtocol
import GenPool
import Testing

extension BrokerTests {
  /// Labels of leases.
  struct LabelTests {
    private func hello(_ name: String?, _ client: TestClient) throws {
      _ = try client.call(Broker1.Hello.self, .init(client: name))
    }

    @Test func `a lease's label is in its reply, in the list and in its events`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      let monitor = try broker.client()
      try monitor.send(Call(Broker1.Monitor.self, .init(), more: true).frame())
      _ = try monitor.receive()
      let lease = try client.acquire(.init(bytes: 4096, label: "slurm job 12")).lease
      #expect(lease.label == "slurm job 12")
      #expect(try client.leases().map(\.label) == ["slurm job 12"])
      let admin = try broker.admin()
      let revoked = try admin.call(Broker1.ForceRelease.self, .init(lease: lease.lease)).lease
      #expect(revoked.label == "slurm job 12")
      let event = try monitor.receive().result(of: Broker1.Monitor.self).event
      #expect(event.event == .leaseRevoked && event.label == "slurm job 12")
    }

    @Test func `a session's name is the label of its leases that have no other`() throws {
      let broker = try TestBroker()
      let client = try broker.client()
      #expect(try client.acquire(4096).lease.label == nil)
      try hello("slurm job 12", client)
      #expect(try client.acquire(4096).lease.label == "slurm job 12")
      #expect(try client.acquire(.init(bytes: 4096, label: "its own")).lease.label == "its own")
      // The name is the connection's, and neither the process's nor the user's.
      #expect(try broker.client().acquire(4096).lease.label == nil)
      try hello(nil, client)
      #expect(try client.acquire(4096).lease.label == nil)
      #expect(try client.leases().compactMap(\.label).sorted() == ["its own", "slurm job 12"])
    }

    @Test(arguments: [
      "", "a\n", "\u{7f}", "é", "\u{1b}[31m", String(repeating: "x", count: 65),
    ])
    func `what terminals cannot show or is too long is no label`(text: String) throws {
      let broker = try TestBroker()
      let client = try broker.client()
      #expect(throws: ReplyError.broker(.invalidParameter(parameter: "label"))) {
        try client.acquire(.init(bytes: 4096, label: text))
      }
      #expect(try client.leases().isEmpty)
      // Names were free to choose before there were labels: such clients are served as ever.
      try hello(text, client)
      #expect(try client.acquire(4096).lease.label == nil)
    }

    @Test func `the longest label is one, and goes with its lease when a key asks for it again`()
      throws
    {
      let broker = try TestBroker()
      let label = String(repeating: "~", count: 64)
      let request = Broker1.Acquire.Parameters(bytes: 4096, requestKey: "a", label: label)
      #expect(try broker.client().acquire(request).lease.label == label)
      let other = try broker.client()
      try hello("another name", other)
      #expect(try other.acquire(request).lease.label == label)
      #expect(throws: ReplyError.broker(.invalidParameter(parameter: "requestKey"))) {
        try other.acquire(.init(bytes: 4096, requestKey: "a", label: "another"))
      }
    }
  }
}
