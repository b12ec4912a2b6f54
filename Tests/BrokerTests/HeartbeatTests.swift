import Broker
import BrokerProtocol
import GenPool
import Logging
import Testing

extension BrokerTests {
  /// What a service manager is told.
  struct HeartbeatTests {
    @Test func `the heart beats at its interval while the loop serves, and says what it serves`()
      throws
    {
      let broker = try LeaseBroker(
        provider: MemoryProvider([.init(address: "0000:01:00.0", size: .mebibytes(1))]),
        configuration: .init(version: "0.0.0-test"),
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
      #expect(broker.status == "0 pools, 0 leases, 0 connections")
      _ = try broker.attach(.init(device: "0000:01:00.0", bar: 0))
      #expect(broker.status == "1 pool, 0 leases, 0 connections")
      let start = ContinuousClock.now
      var beats: [Duration] = []
      broker.every(.milliseconds(20)) {
        beats.append(start.duration(to: .now))
        if beats.count == 5 { broker.stopper.stop() }
      }
      try broker.run()
      #expect(beats.count == 5)
      for (number, beat) in beats.enumerated() {
        #expect(beat >= .milliseconds(20) * (number + 1))
      }
    }
  }
}
