import FoundationEssentials

/// One JSON document for programs: keys sorted, two blanks of indentation, unknown facts left out.
struct JSONDocument<Content: Encodable> {
  private let content: Content

  init(_ content: Content) {
    self.content = content
  }

  /// The document and the end of its last line.
  var text: String {
    get throws(Failure) { try encoded([.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]) }
  }

  /// The document as one line, for streams of them.
  var line: String {
    get throws(Failure) { try encoded([.sortedKeys, .withoutEscapingSlashes]) }
  }

  private func encoded(_ formatting: JSONEncoder.OutputFormatting) throws(Failure) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = formatting
    do {
      return String(decoding: try encoder.encode(content), as: UTF8.self) + "\n"
    } catch {
      throw Failure("write JSON: \(error)")
    }
  }
}
