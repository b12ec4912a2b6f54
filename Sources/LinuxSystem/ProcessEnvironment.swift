import CLinux

/// The variables of this process, environ(7).
package enum ProcessEnvironment {
  /// All of them as they are now; of one that is there twice the first. What is not UTF-8 is
  /// repaired. No thread may change a variable meanwhile.
  package static var variables: [String: String] {
    var variables: [String: String] = [:]
    // SAFETY: the array ends with a null pointer, and each entry with a NUL.
    guard var entry = unsafe gl_environment() else { return [:] }
    while let text = unsafe entry.pointee {
      let pair = unsafe String(cString: text).split(
        separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if pair.count == 2, variables[String(pair[0])] == nil {
        variables[String(pair[0])] = String(pair[1])
      }
      unsafe entry += 1
    }
    return variables
  }
}
