import ArgumentParser
import BrokerProtocol
import GenPool
import GenPoolClient

/// `genpoolctl pool list`
struct PoolList: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "Lists the pools: how large, how full, how fragmented.",
    usage: "genpoolctl pool list [<options>]",
    discussion: """
      AVAILABLE is clean and free; LARGEST is its longest piece. Memory that is being zeroed after a \
      lease is neither available nor leased.

      STATE is active, or uid N while that user alone may lease, for it can reach the memory; or how \
      much is being zeroed; not for you where others may lease alone; draining while no more is leased and what was \
      leased is in use; drained when nothing reaches it any more; revoked when its device has gone; waiting while \
      the memory is in use, so that the pool is not attached yet: `genpoolctl pool show` has the cause.

      EXAMPLE
        genpoolctl pool list --json | jq -r '.pools[] | "\\(.name) \\(.available)"'
      """)

  @OptionGroup var broker: BrokerOptions
  @OptionGroup var output: OutputOptions

  func run() throws {
    let pools = try broker.connect().pools()
    try output.write(Broker1.ListPools.Reply(pools: pools), text: Self.table(of: pools))
  }

  static func table(of pools: [Broker1.Pool]) -> String {
    guard !pools.isEmpty else {
      return "No pool is attached: genpoolctl pool attach BDF:BAR makes one.\n"
    }
    var table = Table([
      .init("POOL"), .init("SIZE", .right), .init("AVAILABLE", .right), .init("LARGEST", .right),
      .init("LEASES", .right), .init("ISOLATION"), .init("STATE", flexible: true),
    ])
    for pool in pools {
      // Of memory that was not opened yet only what was asked for is known.
      let isWaiting = pool.state == .waiting
      table.add([
        pool.name, isWaiting && pool.size == .zero ? "-" : pool.size.description,
        isWaiting ? "-" : pool.available.description,
        isWaiting ? "-" : pool.largestFree.description, String(pool.leases),
        isWaiting ? "-" : pool.isolation, pool.condition,
      ])
    }
    return table.text
  }
}

extension Broker1.Pool {
  /// Its state, and what people want to know beside: who has it, how much is being zeroed.
  fileprivate var condition: String {
    if state != .active { return state.rawValue }
    if mayLease == false { return "not for you" }
    if dirty > .zero { return "zeroing \(dirty)" }
    return exclusiveUid.map { "uid \($0)" } ?? state.rawValue
  }
}
