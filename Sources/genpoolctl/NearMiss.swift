import ArgumentParser

/// A command that does not exist, and the commands that its user may have meant.
struct NearMiss {
  /// The words as they were typed: `pool ls`.
  let typed: String
  /// The commands that exist, whole: `genpoolctl pool list`.
  let commands: [String]

  /// The commands that there are, as words.
  private struct Group {
    let name: String
    let commands: [Group]
    /// Whether words that name no command are arguments of one of them.
    let hasDefault: Bool

    init(_ command: any ParsableCommand.Type) {
      let configuration = command.configuration
      name = configuration.commandName ?? ""
      commands = configuration.subcommands.map { Group($0) }
      hasDefault = configuration.defaultSubcommand != nil
    }

    func command(_ name: String) -> Group? { commands.first { $0.name == name } }

    var names: [String] { commands.map(\.name) }
  }

  /// Finds the first word of `arguments` that is no command where one is expected; nil when there
  /// is none, and when no command resembles it.
  init?(_ arguments: [String]) {
    let words = Array(arguments.prefix { $0 != "--" })
    guard words.first?.hasPrefix("-") == false else { return nil }
    let root = Group(GenPoolCtl.self)
    var group = root
    var path: [String] = []
    for word in words {
      // Options, and the arguments of a command that was found.
      guard !group.commands.isEmpty, !word.hasPrefix("-") else { return nil }
      if let next = group.command(word) {
        path.append(word)
        group = next
        continue
      }
      // Without a command's name it is an argument of the group's usual command.
      if group.hasDefault, words.contains("--device") { return nil }
      let found = Self.answers(to: word, after: path, in: group, of: root, words)
      guard !found.isEmpty else { return nil }
      typed = (path + [word]).joined(separator: " ")
      commands = found.map { "genpoolctl " + $0.joined(separator: " ") }
      return
    }
    return nil
  }

  /// The words, and the command or the commands to try.
  var message: String {
    let name = "there is no command `\(typed)`; "
    guard commands.count > 1 else { return name + "try `\(commands[0])`" }
    return name + "try one of " + commands.map { "`\($0)`" }.joined(separator: ", ")
  }

  /// The words that are typed for a command that is called otherwise here.
  private static let synonyms: [String: Set<String>] = [
    "acquire": ["alloc", "allocate", "create", "get", "new", "take"],
    "add": ["new", "plug"],
    "attach": ["add", "create", "make", "new", "open"],
    "bind": ["claim", "take"],
    "create": ["make", "new"],
    "detach": ["close", "del", "delete", "destroy", "remove", "rm"],
    "doctor": ["check", "diagnose", "health", "info", "probe", "status", "test"],
    "emulate": ["emulation", "fake", "simulate"],
    "holders": ["users", "who"],
    "list": ["all", "ls"],
    "monitor": ["events", "log", "watch"],
    "release": ["delete", "drop", "end", "free", "remove", "rm"],
    "remove": ["del", "delete", "rm", "unplug"],
    "show": ["describe", "get", "info", "inspect", "stat", "status", "view"],
    "unbind": ["rebind", "restore", "return"],
  ]

  /// The paths of the commands that may be meant by `word` after `path`, where `group` has
  /// commands.
  private static func answers(
    to word: String, after path: [String], in group: Group, of root: Group, _ words: [String]
  ) -> [[String]] {
    func isMeant(_ name: String) -> Bool { name == word || synonyms[name]?.contains(word) == true }
    if path.isEmpty {
      // devices, pools, leases: what is there.
      if word.hasSuffix("s"), let noun = root.command(String(word.dropLast())),
        let verb = ["list", "show"].first(where: noun.names.contains)
      {
        return [[noun.name, verb]]
      }
      // list devices, show pool: the other way round.
      if words.count > 1 {
        let next = words[1]
        let noun = root.command(next) ?? root.command(String(next.dropLast()))
        if let noun, let verb = noun.names.first(where: isMeant) {
          return [[noun.name, verb]]
        }
      }
    }
    let same = group.names.filter(isMeant)
    if !same.isEmpty { return same.map { path + [$0] } }
    // A verb without its noun. What an emulated tree or NVMe has is listed as devices are.
    let nouns = path.isEmpty ? root.commands : root.commands.filter { $0.name == "device" }
    func below(_ isGood: (String) -> Bool) -> [[String]] {
      nouns.flatMap { noun in noun.names.filter(isGood).map { [noun.name, $0] } }
    }
    let exact = below { $0 == word }
    if !exact.isEmpty { return exact }
    let meant = below(isMeant)
    if !meant.isEmpty { return meant }
    // A slip of a finger.
    let limit = word.count < 5 ? 1 : 2
    let near = group.names.filter { distance($0, word) <= limit }.map { path + [$0] }
    return near.isEmpty && path.isEmpty ? below { distance($0, word) <= limit } : near
  }

  /// The number of characters to add, take away or replace to get from one text to the other.
  /// O(product of the lengths).
  private static func distance(_ one: String, _ other: String) -> Int {
    let other = Array(other)
    var row = Array(0...other.count)
    for (index, character) in one.enumerated() {
      var diagonal = row[0]
      row[0] = index + 1
      for column in other.indices {
        let replaced = diagonal + (character == other[column] ? 0 : 1)
        diagonal = row[column + 1]
        row[column + 1] = min(replaced, diagonal + 1, row[column] + 1)
      }
    }
    return row[other.count]
  }
}
