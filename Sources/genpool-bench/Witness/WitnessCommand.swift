import ArgumentParser
import Glibc
import LinuxSystem

/// `genpool-bench witness`: the time of the kernel's answer whether anything of a lease is left.
struct WitnessCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "witness",
    abstract: "Times the kernel's answer for one lease among many, as genpoold asks on sysfs.",
    discussion: """
      Watches as many leases as given by epoll, and asks about single ones. Latencies are in \
      microseconds of processor time.
      """)

  @Option(help: "Leases that are watched.")
  var leases = 65_536

  @Option(help: "Questions that are counted.")
  var rounds = 20_000

  @Option(help: ArgumentHelp("A file of sysfs, opened for reading.", valueName: "path"))
  var file = "/sys/devices/system/cpu/online"

  func validate() throws {
    guard leases > 0 else { throw ValidationError("--leases is at least 1") }
    guard rounds > 0 else { throw ValidationError("--rounds is at least 1") }
  }

  func run() throws {
    // A set of 16 leases is a descriptor.
    raiseDescriptorLimit(to: UInt64(leases / 16 + 100))
    let witness = DescriptionWitness()
    // A description can be in any number of sets, in each once.
    let descriptions = try (0..<16).map { _ in try Description(file) }
    for key in 0..<leases {
      try witness.watch(descriptions[key % 16].descriptor, key: UInt64(key))
    }
    let latencies = try withExtendedLifetime(descriptions) { try ask(witness) }
    let sorted = Sorted(latencies)
    func figure(_ share: Double) -> String { "\((sorted.quantile(share) * 10).rounded() / 10)" }
    print(
      "\(leases) leases, us an answer: p50 \(figure(0.5)), p99 \(figure(0.99)), "
        + "p99.9 \(figure(0.999)), max \(figure(1))")
  }

  /// The time of each answer, in microseconds.
  private func ask(_ witness: DescriptionWitness) throws -> [Double] {
    var latencies: [Double] = []
    for round in 0..<rounds {
      let key = UInt64(round &* 40_503 % leases)
      let start = threadNanoseconds()
      guard try witness.holds(key: key) else {
        throw ValidationError("the kernel does not see a description that is open")
      }
      latencies.append(Double(threadNanoseconds() - start) / 1000)
    }
    return latencies
  }

  /// An open file description of its own.
  private final class Description {
    let descriptor: Descriptor

    init(_ path: String) throws {
      let number = unsafe open(path, O_RDONLY | O_CLOEXEC)
      guard number >= 0 else { throw ValidationError("--file \(path) cannot be opened") }
      descriptor = Descriptor(owning: number)
    }
  }
}
