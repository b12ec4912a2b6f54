import BrokerLeases
import BrokerProtocol
import LinuxSystem

extension Broker1.Access {
  /// The users and groups of this machine that it names. Asks the user database, which admins alone
  /// can have asked.
  /// - Throws: InvalidParameter for one that there is not, and for too many.
  func members() throws(BrokerError) -> PoolAccess {
    guard users.count <= Self.limit, groups.count <= Self.limit else { throw .invalid("access") }
    return PoolAccess(
      users: try Self.members(users, Accounts.userNumber),
      groups: try Self.members(groups, Accounts.groupNumber))
  }

  private static func members(
    _ names: [String], _ number: (String) -> UInt32?
  ) throws(BrokerError) -> [PoolAccess.Member] {
    var members: [PoolAccess.Member] = []
    for name in names {
      guard let number = number(name) else { throw .invalid("access") }
      members.append(PoolAccess.Member(name: name, number: number))
    }
    return members
  }
}
