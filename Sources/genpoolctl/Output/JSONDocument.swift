import StrictJSON

/// One JSON document for programs: keys sorted, two blanks of indentation, unknown facts left out.
struct JSONDocument<Content: Encodable> {
  private let content: Content

  init(_ content: Content) {
    self.content = content
  }

  /// The document and the end of its last line.
  var text: String {
    get throws(Failure) { try encoded(.indented) }
  }

  /// The document as one line, for streams of them.
  var line: String {
    get throws(Failure) { try encoded(.compact) }
  }

  private func encoded(_ layout: JSONWriter.Layout) throws(Failure) -> String {
    do {
      return String(decoding: try JSONWriter.bytes(of: content, layout: layout), as: UTF8.self)
        + "\n"
    } catch {
      throw Failure("write JSON: \(error)")
    }
  }
}
