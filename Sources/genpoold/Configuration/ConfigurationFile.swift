import LinuxSystem
import StrictJSON
import SystemPackage

extension Configuration {
  /// A configuration larger than this is something else.
  private static let sizeLimit = 1 << 20

  /// Reads a configuration file. Changes nothing.
  /// - Throws: everything that is wrong with it.
  init(file path: String) throws(InvalidConfiguration) {
    let text: [UInt8]
    do {
      text = try fileContents(path, limit: Self.sizeLimit)
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
    let collector = ProblemCollector()
    let tree: JSONTree
    do {
      tree = try JSONTree(text, userInfo: ProblemCollector.key.map { [$0: collector] } ?? [:])
    } catch {
      throw invalid([ConfigurationProblem(location: error.location, key: "", cause: error.cause)])
    }
    let decoded = Result { try tree.root.decode(Configuration.self) }
    if case .failure(let error) = decoded { collector.report(error, under: []) }
    let map = JSONSourceMap(of: tree)
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
}
