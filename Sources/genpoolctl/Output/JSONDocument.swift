import FoundationEssentials

/// One JSON document for programs: keys sorted, two blanks of indentation, unknown facts left out.
struct JSONDocument<Content: Encodable> {
  private let content: Content

  init(_ content: Content) {
    self.content = content
  }

  /// The document and the end of its last line.
  var text: String {
    get throws(Failure) {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
      do {
        return String(decoding: try encoder.encode(content), as: UTF8.self) + "\n"
      } catch {
        throw Failure("write JSON: \(error)")
      }
    }
  }
}
