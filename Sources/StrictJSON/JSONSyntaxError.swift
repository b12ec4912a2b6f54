/// The first mistake in a text that is no JSON.
package struct JSONSyntaxError: Error, Hashable, CustomStringConvertible {
  package let location: JSONSourceMap.Location
  /// The reason, for people, on one line of printable characters.
  package let cause: String

  init(at location: JSONSourceMap.Location, _ cause: String) {
    self.location = location
    self.cause = cause
  }

  /// `3:14: cause`, to follow the file's name and a colon.
  package var description: String { "\(location): \(cause)" }
}
