import BrokerLeases

// What a service manager wants to know.

extension LeaseBroker {
  /// Calls `action` every `interval` while ``run()`` serves, on its thread: never when the loop
  /// hangs, which is what a watchdog must find out.
  public func every(_ interval: Duration, do action: @escaping () -> Void) {
    loop.after(interval) { [unowned self] in
      action()
      every(interval, do: action)
    }
  }

  /// What it serves at this moment, for people: "2 pools, 5 leases, 3 connections".
  public var status: String {
    func count(_ number: Int, _ noun: String) -> String {
      "\(number) \(noun)\(number == 1 ? "" : "s")"
    }
    return [
      count(regions.all.count, "pool"), count(leases.heldCount, "lease"),
      count(server.sessionCount, "connection"),
    ].joined(separator: ", ")
  }
}
