import CGenPool.Private

/// What `genpool_error_text` says in this thread.
enum ErrorText {
  static func set(_ error: some Error & CustomStringConvertible) { set(error.description) }

  static func set(_ text: String) {
    unsafe text.withCString { unsafe gp_set_error_text($0) }
  }
}
