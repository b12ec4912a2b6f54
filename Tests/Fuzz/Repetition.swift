/// What an input stands for: `(TEXT)N;` is TEXT, N times. JSON has no parentheses of its own.
///
/// Nobody mutates bytes until exactly 513 brackets stand in a row, but numbers libFuzzer does mutate.
/// What is no repetition stands for itself, as does all from where the result would get too long.
func expandingRepetitions(_ bytes: [UInt8]) -> [UInt8] {
  // Above every limit but that of a whole call; more would only cost time.
  let limit = 8 * 1024
  var expanded: [UInt8] = []
  var rest = bytes[...]
  while let start = rest.firstIndex(of: UInt8(ascii: "(")) {
    expanded += rest[..<start]
    let inside = rest[start...].dropFirst()
    let text = inside.prefix { $0 != UInt8(ascii: ")") && $0 != UInt8(ascii: "(") }
    let digits = inside[text.endIndex...].dropFirst().prefix { 0x30...0x39 ~= $0 }
    let count = Int(String(decoding: digits, as: UTF8.self))
    guard let count, count <= limit, expanded.count + text.count * count <= limit,
      digits.endIndex < rest.endIndex, rest[digits.endIndex] == UInt8(ascii: ";"),
      rest[text.endIndex] == UInt8(ascii: ")")
    else {
      expanded.append(rest[start])
      rest = inside
      continue
    }
    for _ in 0..<count { expanded += text }
    rest = rest[digits.endIndex...].dropFirst()
  }
  return expanded + rest
}
