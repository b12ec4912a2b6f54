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

/// How the verbs that talk to the broker find it.
struct BrokerOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The daemon's socket (default: see genpoolctl --help).", valueName: "path"))
  var socket: String?

  @Option(
    help: ArgumentHelp(
      "How long to wait for an answer, memory being scrubbed included.", valueName: "seconds"))
  var timeout: UInt32 = 30

  /// A connection to the broker.
  func connect() throws(ClientError) -> Connection {
    try Connection(
      to: socket.map { BrokerSocket(path: $0) } ?? .standard, timeout: .seconds(Int64(timeout)))
  }
}
