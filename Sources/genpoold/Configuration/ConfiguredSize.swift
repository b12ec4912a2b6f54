import GenPool

/// A size as people write it: `65536`, `"0x10000"`, `"64K"`, `"64 MiB"`.
struct ConfiguredSize: Decodable {
  let size: ByteCount

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let size: ByteCount?
    if let text = try? container.decode(String.self) {
      size = ByteCount(text)
    } else {
      size = (try? container.decode(Int64.self)).flatMap { UInt64(exactly: $0) }.map {
        ByteCount($0)
      }
    }
    // What the wire can say, too.
    guard let size, Int64(exactly: size.rawValue) != nil else {
      throw DecodingError.dataCorruptedError(
        in: container, debugDescription: "no size; write 65536, \"0x10000\" or \"64K\"")
    }
    self.size = size
  }
}
