/// The latencies of leases while others are held, and those of the baseline between them.
struct LeaseLatencies: Encodable {
  /// Leases that were held meanwhile.
  let held: Int
  let acquire: Quantiles
  let release: Quantiles
  /// An acquire and its release.
  let both: Quantiles
  /// Two round trips to a process that does nothing, and blocks in recvmsg(2).
  let echo: Quantiles
  /// The same, to one that waits in epoll_wait(2).
  let epoll: Quantiles

  /// The latencies of one operation, in microseconds to a tenth.
  struct Quantiles: Encodable {
    let p50: Double
    let p99: Double
    let p999: Double
    let max: Double

    init(_ latencies: [Duration]) {
      let sorted = Sorted(latencies.map { $0 / .microseconds(1) })
      func tenths(_ share: Double) -> Double { (sorted.quantile(share) * 10).rounded() / 10 }
      (p50, p99, p999, max) = (tenths(0.5), tenths(0.99), tenths(0.999), tenths(1))
    }
  }

  /// An acquire and its release, in those of two round trips, at the median.
  var ratio: Double { hundredths(both.p50 / echo.p50) }

  /// The same, in those to a process that waits in epoll_wait(2).
  var epollRatio: Double { hundredths(both.p50 / epoll.p50) }

  /// An acquire and its release: the slowest but one in a hundred, in medians.
  var tail: Double { hundredths(both.p99 / both.p50) }

  private enum CodingKeys: String, CodingKey {
    case held, acquire, release, both, echo, epoll, ratio, epollRatio, tail
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(held, forKey: .held)
    try container.encode(acquire, forKey: .acquire)
    try container.encode(release, forKey: .release)
    try container.encode(both, forKey: .both)
    try container.encode(echo, forKey: .echo)
    try container.encode(epoll, forKey: .epoll)
    try container.encode(ratio, forKey: .ratio)
    try container.encode(epollRatio, forKey: .epollRatio)
    try container.encode(tail, forKey: .tail)
  }

  /// The table for people.
  var table: String {
    func line(_ cells: [String]) -> String {
      cells.map { String(repeating: " ", count: Swift.max(0, 10 - $0.count)) + $0 }.joined()
    }
    let rows = [
      ("acquire", acquire), ("release", release), ("both", both), ("echo", echo), ("epoll", epoll),
    ]
    let body = rows.map { name, row in
      line([name] + [row.p50, row.p99, row.p999, row.max].map { String($0) })
    }
    return ([line(["us", "p50", "p99", "p99.9", "max"])] + body).joined(separator: "\n")
      + "\n\(held) leases held: \(ratio) x two round trips at p50, \(epollRatio) x with epoll; p99 is \(tail) x p50"
  }
}
