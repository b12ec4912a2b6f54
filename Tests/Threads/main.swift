import Glibc
import Reference

// `genpool-bench stress` without the rest of the bench: what the thread sanitizer watches.
let threads = 4
let operations = 50_000
let violations = Stress(threads: threads, operations: operations, seed: 1).run()
for violation in violations.prefix(10) { print(violation) }
print("\(threads * operations) operations, \(violations.count) violations")
exit(violations.isEmpty ? 0 : 1)
