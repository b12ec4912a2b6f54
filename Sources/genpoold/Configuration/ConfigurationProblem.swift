import StrictJSON
import Synchronization

/// A mistake in a configuration: its location, and the reason.
struct ConfigurationProblem: Error, Equatable, CustomStringConvertible {
  /// Nil when it is about the whole file.
  var location: JSONSourceMap.Location?
  /// `pools[0].size`; empty for the whole.
  var key: String
  var cause: String

  /// `3:14: pools[0].size: cause`, to follow the file's name and a colon.
  var description: String {
    let position = location.map { "\($0): " } ?? ""
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
    let path: [JSONSourceMap.Step]
    let cause: String
    /// Whether the key at the path's end is what is wrong, and not its value.
    let isAboutKey: Bool
  }

  private let found = Mutex<[Found]>([])

  func report(_ cause: String, at path: [JSONSourceMap.Step], isAboutKey: Bool = false) {
    found.withLock { $0.append(Found(path: path, cause: cause, isAboutKey: isAboutKey)) }
  }

  /// All of them, in the order of the file.
  func problems(in map: JSONSourceMap) -> [ConfigurationProblem] {
    found.withLock { found in
      found.map { problem in
        ConfigurationProblem(
          location: map.location(of: problem.path, isAboutKey: problem.isAboutKey),
          key: JSONSourceMap.name(of: problem.path), cause: problem.cause)
      }
    }.sorted { ($0.location ?? .start) < ($1.location ?? .start) }
  }
}

extension JSONSourceMap {
  /// A path as people write it: `pools[0].size`.
  static func name(of path: [Step]) -> String {
    path.reduce(into: "") { name, step in
      switch step {
      case .index(let index): name += "[\(index)]"
      case .key(let key): name += (name.isEmpty ? "" : ".") + quotedForLog(key, always: false)
      }
    }
  }
}
