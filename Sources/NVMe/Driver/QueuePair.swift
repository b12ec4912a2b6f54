import DeviceDMA
import DeviceMemory
import GenPool
import Glibc
import PCIDevices

/// A submission queue, its completion queue, and their doorbells: commands in, one at a time, and
/// their completions out, by polling.
///
/// Invariant: between two calls no command is in flight, unless one has timed out; then the pair
/// refuses all others, since its memory is still the controller's.
struct QueuePair {
  /// The number of both queues: 0 is the admin pair.
  let number: UInt16
  /// How many entries each has.
  let entries: Int
  /// Where the controller reads commands.
  let submissions: DMABuffer
  /// Where it writes completions.
  let completions: DMABuffer

  private let controller: NVMeController
  private let submissionDoorbell: ByteCount, completionDoorbell: ByteCount
  private var tail = 0
  private var head = 0
  /// The phase bit of a completion that is new: it turns with each round (section 4.6).
  private var phase: UInt16 = 1
  private var nextIdentifier: UInt16 = 0
  private var isStuck = false

  /// How long a completion is.
  static let completionSize: ByteCount = 16

  /// A pair in `submissions` and `completions`, which it zeroes: an old phase bit would be taken
  /// for a completion.
  init(
    number: UInt16, entries: Int, submissions: DMABuffer, completions: DMABuffer,
    of controller: NVMeController, stride: ByteCount
  ) throws(NVMeError) {
    self.number = number
    self.entries = entries
    self.submissions = submissions
    self.completions = completions
    self.controller = controller
    // Section 3.1.16: two doorbells a pair, from 1000h on.
    submissionDoorbell = NVMeRegisters.Offset.doorbells + stride * UInt64(2 * number)
    completionDoorbell = submissionDoorbell + stride
    for buffer in [submissions, completions] {
      try buffer.guarded { buffer throws(DeviceFault) in
        try buffer.zero()
        // Zeros that are late would wipe out a completion.
        try buffer.settle(buffer.size, for: controller.address)
      }
    }
  }

  /// Has the controller do `command`.
  /// - Returns: the completion's first word, which is the command's to define.
  /// - Throws: ``NVMeError/failed(_:command:_:)`` with the status of a command that failed.
  mutating func execute(_ command: Command, within limit: Duration) throws(NVMeError) -> UInt32 {
    guard !isStuck else { throw .stopped(controller.address) }
    isStuck = true
    let identifier = nextIdentifier
    nextIdentifier &+= 1
    try submit(command.words(identifier))
    let completion = try poll(command, within: limit)
    isStuck = false
    guard completion.identifier == identifier else {
      throw .broken(
        controller.address,
        problem: "it names command \(completion.identifier), but \(identifier) was submitted")
    }
    guard completion.status.isSuccess else {
      throw .failed(controller.address, command: command.name, completion.status)
    }
    return completion.result
  }

  private mutating func submit(_ words: [UInt32]) throws(NVMeError) {
    let start = Command.size * UInt64(tail)
    try submissions.guarded { buffer throws(DeviceFault) in
      for (index, word) in words.enumerated() {
        try buffer.store(word, at: start + ByteCount(4 * index))
      }
      // The command must be in its memory before the doorbell is: out of the processor's
      // write-combining buffers, and in another device's memory arrived.
      Fence.stores()
      try buffer.settle(start + Command.size, for: controller.address)
    }
    tail = (tail + 1) % entries
    try ring(submissionDoorbell, tail)
  }

  private struct Completion {
    let result: UInt32
    let identifier: UInt16
    let status: CommandStatus
  }

  /// Polls for the next completion.
  private mutating func poll(
    _ command: Command, within limit: Duration
  ) throws(NVMeError) -> Completion {
    let clock = ContinuousClock()
    let deadline = clock.now + limit
    let start = Self.completionSize * UInt64(head)
    var rounds = 0
    while true {
      let isLate = clock.now >= deadline
      let last: UInt32 = try completions.guarded { buffer throws(DeviceFault) in
        try buffer.load(at: start + 12)
      }
      let field = UInt16(last >> 16)
      if field & 1 == phase { return try take(start, last) }
      if isLate { throw try verdict(command, limit) }
      rounds += 1
      // An idle controller answers within microseconds; a slow one should not cost a processor.
      if rounds > 100 { usleep(50) }
    }
  }

  private mutating func take(_ start: ByteCount, _ last: UInt32) throws(NVMeError) -> Completion {
    // The phase bit first, then what it vouches for.
    Fence.loads()
    let result: UInt32 = try completions.guarded { buffer throws(DeviceFault) in
      try buffer.load(at: start)
    }
    head += 1
    if head == entries {
      head = 0
      phase ^= 1
    }
    try ring(completionDoorbell, head)
    return Completion(
      result: result, identifier: UInt16(truncatingIfNeeded: last),
      status: CommandStatus(rawValue: UInt16(last >> 17)))
  }

  private func ring(_ doorbell: ByteCount, _ index: Int) throws(NVMeError) {
    do throws(DeviceError) {
      try controller.store(UInt32(index), at: doorbell)
    } catch {
      throw .device(error)
    }
  }

  /// Why nothing came.
  private func verdict(_ command: Command, _ limit: Duration) throws(NVMeError) -> NVMeError {
    do throws(DeviceError) {
      let status = try controller.state().status
      guard status.isAnswer, !status.isFatal else { return .stopped(controller.address) }
    } catch {
      throw .device(error)
    }
    return .timeout(controller.address, command: command.name, after: limit)
  }
}
