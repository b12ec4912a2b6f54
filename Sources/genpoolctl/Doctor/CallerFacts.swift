import LinuxSystem
import PCIDevices
import SystemPackage

/// The process that asks: its user, groups, capabilities and namespaces, from `/proc/self`.
struct CallerFacts: Sendable {
  /// Its effective user.
  let uid: Fact<UInt32>
  /// All of its groups.
  let groups: Fact<Set<UInt32>>
  /// Whether it has CAP_SYS_ADMIN, without which root cannot attach.
  let isAdministrator: Fact<Bool>
  /// The namespaces that are not those of init: `pid`, `user`, `net`.
  let foreignNamespaces: Fact<[String]>
  /// The namespaces of which it cannot be told whether they are those of init: `net`.
  let unseenNamespaces: [String]
  /// The files that container runtimes leave: `/.dockerenv`, `/run/.containerenv`.
  let containerMarks: [String]

  /// Reads the facts of the process that `root`'s `/proc/self` is.
  init(of root: SystemRoot) {
    let status = root.text("/proc/self/status", limit: 1 << 16).map(Self.fields)
    func field<Value>(_ name: String, _ parse: ([Substring]) -> Value?) -> Fact<Value> {
      switch status {
      case .unknown(let cause): return .unknown(cause)
      case .known(let fields):
        guard let words = fields[name], let value = parse(words) else {
          return .unknown("/proc/self/status has no \(name)")
        }
        return .known(value)
      }
    }
    // Real, effective, saved and of file systems.
    uid = field("Uid") { $0.count == 4 ? UInt32($0[1]) : nil }
    let primary = field("Gid") { $0.count == 4 ? UInt32($0[1]) : nil }
    groups = field("Groups") { words in
      primary.value.map { Set(words.compactMap { UInt32($0) } + [$0]) }
    }
    isAdministrator = field("CapEff") { words in
      words.first.flatMap { UInt64($0, radix: 16) }.map { $0 >> Self.administration & 1 == 1 }
    }
    (foreignNamespaces, unseenNamespaces) = Self.namespaces(of: root)
    containerMarks = ["/.dockerenv", "/run/.containerenv"].filter {
      root.exists($0).value == true
    }
  }

  /// The number of CAP_SYS_ADMIN: linux/capability.h.
  private static let administration: UInt64 = 21

  /// The lines of `status` by name: proc_pid_status(5).
  private static func fields(_ text: String) -> [String: [Substring]] {
    var fields: [String: [Substring]] = [:]
    for line in text.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard let name = parts.first else { continue }
      fields[String(name)] =
        parts.count > 1 ? parts[1].split { $0 == " " || $0 == "\t" } : []
    }
    return fields
  }

  /// The first process's namespaces, whose numbers are the kernel's own: linux/proc_ns.h
  /// (PROC_USER_INIT_INO, PROC_PID_INIT_INO).
  private static let initial = ["pid": "pid:[4026531836]", "user": "user:[4026531837]"]

  private static func namespaces(
    of root: SystemRoot
  ) -> (foreign: Fact<[String]>, unseen: [String]) {
    var foreign: [String] = []
    var unseen: [String] = []
    do throws(DeviceError) {
      for name in ["pid", "user", "net"] {
        let link = root["/proc/self/ns/\(name)"]
        guard let own = try link.linkTarget()?.string else {
          return (.unknown("/proc/self/ns has no \(name)"), [])
        }
        // Of the network's only a comparison tells, which takes rights over the first process.
        let first = initial[name] ?? (try? root["/proc/1/ns/\(name)"].linkTarget())?.string
        if let first {
          if first != own { foreign.append(name) }
        } else {
          unseen.append(name)
        }
      }
    } catch {
      return (.unknown(error.description), [])
    }
    // In a pid namespace the first process is another one than the machine's.
    if foreign.contains("pid"), !foreign.contains("net"), !unseen.contains("net") {
      unseen.append("net")
    }
    return (.known(foreign), unseen)
  }
}
