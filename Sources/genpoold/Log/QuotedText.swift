/// `text` as one word of a log line or an error: in quotes if it has spaces or quotes or `always`,
/// with `\u{…}` for what could forge a line or steer a terminal, and not too long. Peers and files
/// choose names and keys.
func quotedForLog(_ text: String, always: Bool = true, limit: Int = 1000) -> String {
  var quoted = ""
  var needsQuotes = always || text.isEmpty
  for scalar in text.unicodeScalars.prefix(limit) {
    switch scalar {
    case "\"", "\\":
      quoted += "\\\(scalar)"
      needsQuotes = true
    case "\n":
      quoted += "\\n"
      needsQuotes = true
    case "!"..."~":
      quoted.unicodeScalars.append(scalar)
      if scalar == "=" { needsQuotes = true }
    case " ":
      quoted += " "
      needsQuotes = true
    default:
      quoted += "\\u{\(String(scalar.value, radix: 16))}"
      needsQuotes = true
    }
  }
  if text.unicodeScalars.count > limit { quoted += "..." }
  return needsQuotes ? "\"\(quoted)\"" : quoted
}
