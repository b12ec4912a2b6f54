/// A process's identity, by which it is known again when it connects another time.
package enum ProcessIdentity: Hashable, Sendable {
  /// The inode of its pidfd, which no other process has until the machine starts again: since Linux
  /// 6.9.
  case inode(UInt64)
  /// Its number, which another process may get when it has died, and the moment of its start in
  /// clock ticks since the machine's; nil where /proc hides it (`ProtectProc=`, `hidepid=`).
  case number(Int32, start: UInt64?)

  /// The moment at which the process with a number started; nil where /proc does not tell.
  static func start(of pid: Int32) -> UInt64? {
    guard let directory = try? Directory("/proc/\(pid)"),
      let text = try? directory.attribute("stat", limit: 1024)
    else { return nil }
    return start(in: String(decoding: text, as: UTF8.self))
  }

  /// Field 22 of /proc/PID/stat. The second is the command's name in brackets, which may have any
  /// bytes in it. proc_pid_stat(5).
  static func start(in stat: String) -> UInt64? {
    guard let end = stat.lastIndex(of: ")") else { return nil }
    let fields = stat[stat.index(after: end)...].split(separator: " ")
    return fields.count > 19 ? UInt64(fields[19]) : nil
  }
}
