import Broker
import BrokerLeases
import BrokerProtocol
import Logging

/// What `genpoold.json` says. What it leaves out is nil, and the daemon's default holds.
struct Configuration: Equatable {
  /// Where the daemon looks when no `--config` is given.
  static let standardPath = "/etc/genpool/genpoold.json"

  /// The path of the clients' socket; the admins' is beside it.
  var socket: String?
  /// The group whose members may connect to the clients' socket.
  var group: Group?
  /// The group whose members may connect to the admins' socket.
  var adminGroup: Group?
  /// What is logged: this and what is more severe.
  var logLevel: Logger.Level?
  /// Leases at a time, of all users.
  var maxLeases: Int?
  /// What one user may have.
  var quotas = Quotas()
  /// The directory to record pools in.
  var record: String?
  /// In the order of the file.
  var pools: [PoolEntry] = []

  /// A group of users that exists.
  struct Group: Equatable {
    let name: String
    let gid: UInt32
  }
}
