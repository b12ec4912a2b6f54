import LinuxSystem

/// The descriptors that came with one answer: a unit, all of them taken or closed.
struct ReceivedDescriptors: ~Copyable, Sendable {
  /// By their index in the answer; nil once taken.
  private var numbers: [CInt?] = []

  deinit {
    for number in numbers {
      guard let number else { continue }
      _ = Descriptor(owning: number)
    }
  }

  /// Takes over `received`, which came next.
  mutating func append(_ received: some Sequence<CInt>) {
    for number in received { numbers.append(number) }
  }

  /// How many came.
  var count: Int { numbers.count }

  /// The descriptor at `index`, out of the unit; nil when there is none.
  mutating func take(_ index: Int) -> Descriptor? {
    guard numbers.indices.contains(index), let number = numbers[index] else { return nil }
    numbers[index] = nil
    return Descriptor(owning: number)
  }
}
