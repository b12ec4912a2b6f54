import FoundationEssentials
import LocatedJSON
import SystemPackage

extension Configuration {
  /// A configuration larger than this is something else.
  private static let sizeLimit = 1 << 20

  /// Reads a configuration file. Changes nothing.
  /// - Throws: everything that is wrong with it.
  init(file path: String) throws(InvalidConfiguration) {
    let text: [UInt8]
    do {
      text = try Self.read(path)
    } catch {
      throw InvalidConfiguration(
        file: path,
        problems: [ConfigurationProblem(location: nil, key: "", cause: " \(error)")])
    }
    try self.init(text: text, file: path)
  }

  /// Reads a configuration's text; `file` is what errors call it.
  init(text: [UInt8], file: String) throws(InvalidConfiguration) {
    func invalid(_ problems: [ConfigurationProblem]) -> InvalidConfiguration {
      InvalidConfiguration(file: file, problems: problems)
    }
    guard text.count <= Self.sizeLimit else {
      throw invalid([ConfigurationProblem(location: .start, key: "", cause: "more than 1 MiB")])
    }
    guard !text.allSatisfy({ [0x20, 0x09, 0x0a, 0x0d].contains($0) }) else {
      throw invalid([
        ConfigurationProblem(
          location: .start, key: "", cause: "the file is empty; {} asks for nothing")
      ])
    }
    let map: JSONSourceMap
    do {
      map = try JSONSourceMap(text)
    } catch {
      throw invalid([ConfigurationProblem(location: error.location, key: "", cause: error.cause)])
    }
    let collector = ProblemCollector()
    let decoder = JSONDecoder()
    if let key = ProblemCollector.key { decoder.userInfo[key] = collector }
    let decoded = Result { try decoder.decode(Configuration.self, from: Data(text)) }
    if case .failure(let error) = decoded { collector.report(error, under: []) }
    let repeated = map.repeatedKeys.map {
      ConfigurationProblem(
        location: $0.location, key: JSONSourceMap.name(of: $0.path),
        cause: "the key is given twice"
          + (map.keys[$0.path].map { " (first at \($0))" } ?? ""))
    }
    let problems = (repeated + collector.problems(in: map)).sorted {
      ($0.location ?? .start) < ($1.location ?? .start)
    }
    guard problems.isEmpty, case .success(let configuration) = decoded else {
      throw invalid(problems)
    }
    self = configuration
  }

  private static func read(_ path: String) throws -> [UInt8] {
    let file = try FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
    return try file.closeAfter {
      var text: [UInt8] = []
      var room = [UInt8](repeating: 0, count: 64 * 1024)
      while text.count <= sizeLimit {
        let count = try unsafe room.withUnsafeMutableBytes { try unsafe file.read(into: $0) }
        guard count > 0 else { break }
        text += room.prefix(count)
      }
      return text
    }
  }
}
