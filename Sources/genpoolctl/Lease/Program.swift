import BrokerProtocol
import DeviceMemory
import GenPool
import GenPoolClient
import Glibc
import LinuxSystem
import SystemPackage

/// A program that takes this process's place, and a lease with it.
struct Program {
  /// Its name and its arguments; never empty.
  private let arguments: [String]

  /// The program that `arguments` names, nil when there are none.
  init?(_ arguments: [String]) {
    guard !arguments.isEmpty else { return nil }
    self.arguments = arguments
  }

  /// Runs the program in this process, with the lease's descriptor and facts. Returns only if it
  /// cannot be run, as env(1) and nohup(1) say it: 127 not found, 126 found but not run.
  func replaceProcess(with lease: borrowing Lease, of connection: Connection) -> Failure {
    let descriptor = lease.region.range.descriptor.rawValue
    // The connection stays open too: a lease whose connection closes counts as orphaned.
    for inherited in [descriptor, connection.descriptor] {
      guard fcntl(inherited, F_SETFD, 0) == 0 else {
        return Failure("pass descriptor \(inherited) on: \(Errno(rawValue: errno))")
      }
    }
    let grant = lease.grant
    let variables: [(name: String, value: String?)] = [
      ("FD", String(descriptor)), ("OFFSET", String(grant.mapOffset.rawValue)),
      ("SIZE", String(grant.size.rawValue)), ("PHYSICAL", grant.physical?.description),
      ("BUS", grant.bus?.description), ("ID", grant.lease.rawValue),
      ("GENERATION", grant.generation.description),
    ]
    for (name, value) in variables {
      let name = "GENPOOL_LEASE_" + name
      // What is not known must not be inherited from a lease around this one.
      let result =
        if let value { unsafe setenv(name, value, 1) } else { unsafe unsetenv(name) }
      guard result == 0 else { return Failure("set \(name): \(Errno(rawValue: errno))") }
    }
    // SAFETY: execvp(3) wants C strings that end in a null pointer. They are never freed: either there
    // is another program then, or this one is about to end.
    unsafe execvp(arguments[0], arguments.map { unsafe strdup($0) } + [nil])
    let errno = Errno(rawValue: errno)
    return Failure(
      "run \(arguments[0]): \(errno)", status: errno == .noSuchFileOrDirectory ? 127 : 126)
  }
}
