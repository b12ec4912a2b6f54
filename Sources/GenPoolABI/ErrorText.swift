import CGenPool.Private
import GenPool

/// What `genpool_error_text` says in this thread.
enum ErrorText {
  static func set(_ error: some Error & CustomStringConvertible) { set(error.description) }

  static func set(_ text: String) {
    unsafe text.withCString { unsafe gp_set_error_text($0) }
  }

  /// Does what a pool may refuse, and answers as C is answered: 0, or -errno with the text set.
  static func answer(_ body: () throws(PoolError) -> Void) -> CInt {
    do {
      try body()
      return 0
    } catch {
      set(error)
      return -error.errorNumber
    }
  }
}
