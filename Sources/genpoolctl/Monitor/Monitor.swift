import ArgumentParser
import BrokerProtocol
import GenPoolClient

/// `genpoolctl monitor`
struct Monitor: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "monitor",
    abstract: "Prints what happens to pools and leases, one line an event.",
    discussion: """
      Runs until it is interrupted, or genpoold ends (exit status 69). The events:
        started        from here on nothing is missed
        regionAdded    a pool was attached
        regionRemoved  a pool was detached
        regionRevoked  a pool's device was removed or stopped answering
        regionDraining a pool leases no more
        regionDrained  nothing reaches a drained pool any more
        regionResumed  a pool that was draining or drained leases again
        leaseRevoked   a lease's holder must use its memory no longer
        pressure       less than 1/8 of a pool is free; not told again before 1/4 was
      Events of leases are shown to their user, and to admins. With --json each line is one JSON \
      document, with the fields of Event in the varlink interface.
      """)

  @OptionGroup var broker: BrokerOptions
  @OptionGroup var output: OutputOptions

  func run() throws {
    let connection = try broker.connectToShow()
    var failure: Failure?
    try connection.monitor { event in
      do throws(Failure) {
        try StandardOutput.write(output.json ? JSONDocument(event).line : event.line)
        return true
      } catch {
        failure = error
        return false
      }
    }
    if let failure { throw failure }
  }
}

extension Broker1.Event {
  /// The event as a line for people.
  var line: String {
    var words = [event.rawValue]
    if let pool { words.append("pool=\(pool)") }
    if let available { words.append("available=\(available)") }
    if let lease { words.append("lease=\(lease)") }
    if let uid { words.append("uid=\(uid)") }
    if let pid { words.append("pid=\(pid)") }
    if let label { words.append("label=\(quoted(label))") }
    if let cause { words.append("(\(cause))") }
    return words.joined(separator: " ") + "\n"
  }

  /// A label as one word: blanks may be in it, and its end must not look like another field.
  private func quoted(_ label: String) -> String {
    label.reduce("\"") { $0 + (#""\"#.contains($1) ? "\\" : "") + String($1) } + "\""
  }
}
