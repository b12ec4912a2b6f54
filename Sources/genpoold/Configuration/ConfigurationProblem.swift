import FoundationEssentials
import Synchronization

/// Something that is wrong with a configuration: where, and why.
struct ConfigurationProblem: Error, Equatable, CustomStringConvertible {
  /// Nil when it is about the whole file.
  var place: JSONPlaces.Place?
  /// `pools[0].size`; empty for the whole.
  var key: String
  var cause: String

  /// `3:14: pools[0].size: cause`, to follow the file's name and a colon.
  var description: String {
    let position = place.map { "\($0): " } ?? ""
    return position + (key.isEmpty ? "" : key + ": ") + cause
  }
}

/// Why a configuration is not used: all that was found.
struct InvalidConfiguration: Error, CustomStringConvertible {
  let file: String
  let problems: [ConfigurationProblem]

  var lines: [String] { problems.map { "\(file):\($0)" } }

  var description: String { lines.joined(separator: "\n") }
}

/// Gathers what is wrong while a decoder goes through a file. A decoder by itself stops at the first
/// mistake; whoever mends one should not then meet the next.
///
/// Decoders pass it on by their `userInfo`, which wants it Sendable.
final class ProblemCollector: Sendable {
  static let key = CodingUserInfoKey(rawValue: "genpoold.problems")

  struct Found {
    let path: [JSONPlaces.Step]
    let cause: String
    /// Whether the key at the path's end is what is wrong, and not its value.
    let isAboutKey: Bool
  }

  private let found = Mutex<[Found]>([])

  func add(_ cause: String, at path: [JSONPlaces.Step], isAboutKey: Bool = false) {
    found.withLock { $0.append(Found(path: path, cause: cause, isAboutKey: isAboutKey)) }
  }

  /// All of them, in the order of the file.
  func problems(in places: JSONPlaces) -> [ConfigurationProblem] {
    found.withLock { found in
      found.map { problem in
        ConfigurationProblem(
          place: places.place(of: problem.path, isAboutKey: problem.isAboutKey),
          key: JSONPlaces.name(of: problem.path), cause: problem.cause)
      }
    }.sorted { ($0.place ?? .start) < ($1.place ?? .start) }
  }
}
