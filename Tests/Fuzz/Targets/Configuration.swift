import GenPool
import StrictJSON

@testable import genpoold

extension FuzzTarget {
  /// A configuration file.
  ///
  /// What is wrong is said at a place in the file, on a line of its own that steers no terminal. What
  /// is accepted is a configuration whose pools could be attached, as far as a file can tell.
  static let configuration = FuzzTarget(name: "configuration") { text in
    do throws(InvalidConfiguration) {
      let configuration = try Configuration(text: text, file: "f")
      precondition(
        String(validating: text, as: UTF8.self) != nil, "a configuration is text, in UTF-8")
      check(configuration)
      let again = try Configuration(text: text, file: "f")
      precondition(again == configuration, "it means the same each time")
      let changes = ConfigurationChanges(from: configuration, to: again)
      precondition(changes.lines.isEmpty && changes.afterRestart.isEmpty, "nothing changed")
    } catch {
      precondition(!error.problems.isEmpty, "who refuses says why")
      let lines = text.split(separator: 10, omittingEmptySubsequences: false)
      for problem in error.problems {
        checkLine(problem.description)
        precondition(!problem.cause.isEmpty)
        guard let place = problem.location else { preconditionFailure("a mistake has a place") }
        precondition(lines.indices.contains(place.line - 1), "the place's line is there")
        // At most one behind the last character: what is missing is missing there.
        let columns = lines[place.line - 1].count + 1
        precondition(1...columns ~= place.column, "the place is in its line")
      }
      let places = error.problems.compactMap(\.location)
      precondition(places == places.sorted(), "mistakes come in the file's order")
    }
  }

  private static func check(_ configuration: Configuration) {
    for line in configuration.summary { checkLine(line) }
    for line in ConfigurationChanges(from: Configuration(), to: configuration).lines {
      checkLine(line)
    }
    for pool in configuration.pools {
      for size in [pool.offset, pool.size, pool.granule].compactMap({ $0 }) {
        precondition(size.isMultiple(of: 4096), "memory is mapped in pages")
      }
      precondition(pool.granule?.isPowerOfTwo ?? true)
      precondition(pool.wanted(among: []).isEmpty, "no device, no pool")
    }
    precondition(configuration.maxLeases ?? 1 > 0)
    precondition(configuration.record?.hasPrefix("/") ?? true, "wherever the daemon is started")
    let names = configuration.pools.compactMap(\.name)
    precondition(Set(names).count == names.count, "a name names one pool")
  }

  /// A line of a log or a terminal.
  private static func checkLine(_ line: String) {
    let isPrintable = line.unicodeScalars.allSatisfy {
      $0.properties.generalCategory != .control
    }
    precondition(isPrintable, "no file steers a terminal: \(line.debugDescription)")
    precondition(line.utf8.count < 20_000, "a line is no page")
  }
}
