import CLibFuzzer
import Glibc

/// `fuzz --target=NAME [libFuzzer's options] [DIRECTORY…]` looks for inputs that break a target,
/// starting with those in the directories; `fuzz --target=NAME FILE…` runs those files and no other.
///
/// libFuzzer ignores what starts with `--`, and hands it on to the processes that it starts itself.
@main
enum Fuzz {
  /// The target, for libFuzzer's callback, which takes no context. Set once, before anything runs.
  nonisolated(unsafe) private static var test: ([UInt8]) -> Void = { _ in }

  static func main() {
    let option = "--target="
    let name = CommandLine.arguments.first { $0.hasPrefix(option) }?.dropFirst(option.count)
    guard let target = FuzzTarget.all.first(where: { $0.name == name ?? "" }) else {
      // What Tests/Fuzz/run asks for to know the targets.
      print(FuzzTarget.all.map(\.name).joined(separator: "\n"))
      exit(name == nil ? 0 : 64)
    }
    unsafe test = target.test
    var count = CommandLine.argc
    var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? =
      unsafe CommandLine.unsafeArgv
    // SAFETY: libFuzzer's bytes live during the call, and they are copied.
    let status = unsafe LLVMFuzzerRunDriver(&count, &arguments) { bytes, count in
      unsafe Fuzz.test([UInt8](UnsafeBufferPointer(start: bytes, count: count)))
      return 0
    }
    exit(status)
  }
}
