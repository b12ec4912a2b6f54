import GenPool

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
    func problem(_ problem: String) -> InvalidSpecification {
      InvalidSpecification(text: text, problem: problem)
    }
    var fields = text.split(separator: ",", omittingEmptySubsequences: false)[...]
    let place = fields.removeFirst()
    guard let colon = place.lastIndex(of: ":"), place[..<colon].contains(":") else {
      throw problem("it starts with a device and a BAR, like 0000:01:00.0:2")
    }
    let part = place[place.index(after: colon)...]
    if Self.memories.contains(String(part)) {
      self.init(device: String(place[..<colon]), memory: String(part))
    } else {
      // One digit: Int takes a sign and leading zeros too.
      guard part.utf8.count == 1, let bar = Int(part), 0...5 ~= bar else {
        throw problem("a BAR is a number from 0 to 5; an NVMe controller's memory is cmb or pmr")
      }
      self.init(device: String(place[..<colon]), bar: bar)
    }

    var seen: Set<Substring> = []
    for field in fields {
      let parts = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, !parts[1].isEmpty else {
        throw problem("\(parts[0]) lacks its value: \(parts[0])=…")
      }
      let (key, value) = (parts[0], String(parts[1]))
      guard seen.insert(key).inserted else { throw problem("\(key) is given twice") }
      func size() throws(InvalidSpecification) -> ByteCount {
        guard let size = ByteCount(value) else {
          throw problem("\(key)=\(value) is no size; write 65536, 0x10000 or 64K")
        }
        return size
      }
      switch key {
      case "offset": offset = try size()
      case "size": self.size = try size()
      case "granule":
        let least = GranuleSize.page.byteCount
        let granule = try size()
        guard granule.isPowerOfTwo, granule >= least else {
          throw problem("\(key)=\(value) is no power of two of at least the page size, \(least)")
        }
        self.granule = granule
      case "name": name = value
      case "allow":
        let rules = value.split(separator: "+", omittingEmptySubsequences: false)
        guard !rules.contains("") else {
          throw problem("\(key)=\(value) has a rule without a name")
        }
        allow = rules.map(String.init)
      case "source": source = value
      case "erase":
        guard value == "yes" else { throw problem("\(key)=\(value) is not \(key)=yes") }
        erase = true
      default:
        throw problem(
          "no option \(key); there are offset, size, granule, name, allow, source and erase")
      }
    }
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
