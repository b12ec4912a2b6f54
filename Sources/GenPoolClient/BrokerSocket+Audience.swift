import BrokerProtocol
import Glibc
import LinuxSystem

extension BrokerSocket {
  /// The users that may connect, and the way to become one, as the socket's file has them:
  /// `root and the group nvme: usermod -aG nvme USER, then a new login`.
  ///
  /// The configuration decides on the group, and the daemon gives the file to it.
  /// - Parameter usual: the group that is named where the file cannot be examined, as below a
  ///   directory that this user may not search.
  func audience(group usual: String) -> String {
    var status = stat()
    var group = usual
    var owner = ""
    if !path.hasPrefix("@"), unsafe stat(path, &status) == 0 {
      if status.st_uid != 0 { owner = "uid \(status.st_uid), " }
      // Without a bit for the group it is the owner's alone, in whatever group the file is.
      guard status.st_mode & S_IWGRP != 0, status.st_gid != 0 else {
        return "\(owner)root alone"
      }
      group = Accounts.groupName(status.st_gid) ?? "\(status.st_gid)"
    }
    return "\(owner)root and the group \(group): usermod -aG \(group) USER, then a new login"
  }
}
