import BrokerProtocol
import GenPoolClient
import PCIDevices

/// A pool as people name it: by its name, the memory that it is of (`0000:01:00.0:2`), or the start
/// of either, which has to be one pool's alone.
struct PoolPrefix {
  /// sysexits.h EX_USAGE.
  static let ambiguous: Int32 = 64

  let text: String

  /// The name of the pool that is meant; nil when none is.
  /// - Throws: a failure that lists them when it may be several.
  func choose(among pools: [Broker1.Pool]) throws(Failure) -> String? {
    if pools.contains(where: { $0.name == text }) { return text }
    if let one = pools.first(where: { $0.ids.contains(text) }) { return one.name }
    guard !text.isEmpty else { return nil }
    let found = pools.filter { pool in
      ([pool.name] + pool.ids).contains { $0.hasPrefix(text) }
    }
    guard found.count > 1 else { return found.first?.name }
    throw Failure(
      "find pool \(text): \(found.count) begin so, "
        + found.map(\.name).joined(separator: ", ") + "; give more of the name",
      status: Self.ambiguous)
  }
}

extension Broker1.Pool {
  /// The names of its memory, with and without the domain of PCI.
  fileprivate var ids: [String] {
    guard bar >= 0 else { return [device] + (shortDevice.map { [$0] } ?? []) }
    return ["\(device):\(bar)"] + (shortDevice.map { ["\($0):\(bar)"] } ?? [])
  }

  private var shortDevice: String? {
    device.hasPrefix("0000:") ? String(device.dropFirst("0000:".count)) : nil
  }
}

extension Connection {
  /// The result of `body`, a call with the name of a pool, for the pool that `text` means. Pools
  /// are listed only when none has that very name.
  func withPool<Answer: ~Copyable>(
    _ text: String, _ body: (String) throws(ClientError) -> Answer
  ) throws -> Answer {
    do throws(ClientError) {
      return try body(text)
    } catch .broker(.noSuchPool(text)) {
      guard let name = try PoolPrefix(text: text).choose(among: pools()), name != text else {
        throw ClientError.broker(.noSuchPool(pool: text))
      }
      return try body(name)
    }
  }
}
