import ArgumentParser
import BrokerProtocol
import GenPoolClient

/// The option that every verb has.
struct OutputOptions: ParsableArguments {
  @Flag(help: "Print one JSON document, for programs.")
  var json = false

  /// Writes a result in the form that was asked for.
  func write(_ content: some Encodable, text: @autoclosure () -> String) throws(Failure) {
    if json {
      try StandardOutput.write(JSONDocument(content).text)
    } else {
      try StandardOutput.write(text())
    }
  }
}

/// The options by which the verbs that talk to the broker find it.
struct BrokerOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The daemon's socket for clients; that for admins is beside it (default: see genpoolctl --help).",
      valueName: "path"))
  var socket: String?

  @Option(
    help: ArgumentHelp(
      "How long to wait for an answer, memory being scrubbed included.", valueName: "seconds"))
  var timeout: UInt32 = 30

  /// A client's connection to the broker.
  func connect() throws(ClientError) -> Connection {
    try Connection(to: place, timeout: limit)
  }

  /// An admin's connection, for the verbs that only admins may call.
  func connectAsAdmin() throws(ClientError) -> Connection {
    try Connection(to: place.admin, timeout: limit)
  }

  /// A connection for the verbs that show the leases and events of all users to admins: an admin's
  /// where this user is one.
  func connectToShow() throws(ClientError) -> Connection {
    try Connection.preferringAdmin(of: place, timeout: limit)
  }

  private var place: BrokerSocket { socket.map { BrokerSocket(path: $0) } ?? .standard }

  private var limit: Duration { .seconds(Int64(timeout)) }
}
