import GenPool
import OptionText

extension Broker1.Attach.Parameters {
  /// The kinds of memory that an NVMe controller has of its own.
  public static let memories = ["cmb", "pmr"]

  /// What `text` says to attach, as people write it on command lines:
  /// `BDF:BAR[,offset=N][,size=N][,granule=N][,name=S][,allow=RULE[+RULE…]][,source=S]`, such as
  /// `0000:01:00.0:2,size=32M,name=cmb`. In the BAR's place `cmb` and `pmr` are an NVMe controller's own
  /// memory; the latter needs `erase=yes`.
  ///
  /// Whether there is such a device is the broker's to say.
  /// - Throws: the first field that cannot be read.
  public init(specification text: String) throws(InvalidSpecification) {
    do throws(InvalidOptionText) {
      try self.init(OptionText(text))
    } catch {
      throw InvalidSpecification(text: error.text, problem: error.problem)
    }
  }

  private init(_ text: OptionText) throws(InvalidOptionText) {
    var options = text
    let head = text.head
    guard let colon = head.lastIndex(of: ":"), head[..<colon].contains(":") else {
      throw text.problem("it starts with a device and a BAR, like 0000:01:00.0:2")
    }
    let device = String(head[..<colon])
    let part = String(head[head.index(after: colon)...])
    if Self.memories.contains(part) {
      self.init(device: device, memory: part)
    } else {
      // One digit: Int takes a sign and leading zeros too.
      guard part.utf8.count == 1, let bar = Int(part), 0...5 ~= bar else {
        throw text.problem(
          "a BAR is a number from 0 to 5; an NVMe controller's memory is cmb or pmr")
      }
      self.init(device: device, bar: bar)
    }
    let page = GranuleSize.page.byteCount
    offset = try options.takeSize("offset")
    size = try options.takeSize("size")
    granule = try options.take(
      "granule", else: "is no power of two of at least the page size, \(page)"
    ) { given in
      ByteCount(given).flatMap { $0.isPowerOfTwo && $0 >= page ? $0 : nil }
    }
    name = options.takeText("name")
    allow = try options.take("allow", else: "has a rule without a name") { given in
      let rules = given.split(separator: "+", omittingEmptySubsequences: false)
      return rules.contains("") ? nil : rules.map(String.init)
    }
    source = options.takeText("source")
    erase = try options.takeChoice("erase", ["yes": true])
    try options.finish()
  }
}

/// A specification of a piece of a BAR that cannot be read.
public struct InvalidSpecification: Error, Equatable, CustomStringConvertible {
  /// The whole text.
  public let text: String
  /// What is wrong with it.
  public let problem: String

  public var description: String { "attach \(text): \(problem)" }
}
