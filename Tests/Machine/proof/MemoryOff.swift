import ArgumentParser
import DeviceMemory
import DeviceSources
import GenPool
import Glibc
import NVMe
import PCIDevices
import Reference

/// A VFIO device whose memory space is switched off raises SIGBUS on every access: an error here, not the
/// end of the process; and when it is on again the memory is what it was.
struct MemoryOff: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "memory-off")

  @Option var device: PCIAddress
  @Option var bar: Int
  @Option var seed: UInt64

  func run() throws {
    guard let bar = BAR.Index(bar) else { throw ValidationError("a BAR is a number from 0 to 5") }
    let source = try VFIOSource()
    let region = try Region(mapping: source.open(BARRequest(device: device, bar: bar)))
    var generator = SplitMix64(seed: seed)
    let pattern = generator.bytes(4096)
    try region.write(pattern, at: .kibibytes(4))
    let vfio = try source.device(at: device)
    try vfio.setCommand(.memorySpace, to: false)
    try expectFault("read") { () throws(DeviceFault) in
      _ = try region.read(at: .kibibytes(4), count: 8)
    }
    try expectFault("write") { () throws(DeviceFault) in
      try region.write([1], at: .kibibytes(4))
    }
    try expectFault("load") { () throws(DeviceFault) in
      _ = try region.mapping.load(UInt32.self, at: .kibibytes(8))
    }
    try vfio.setCommand(.memorySpace, to: true)
    try expectSame(region.read(at: .kibibytes(4), count: 4096), pattern, "what was written before")
    try vfio.reset()
    try vfio.setCommand(.memorySpace, to: true)
    try expectSame(region.read(at: .kibibytes(4), count: 4096), pattern, "what a reset leaves")
  }

  private func expectFault(
    _ operation: String, _ body: () throws(DeviceFault) -> Void
  ) throws(Disproof) {
    do throws(DeviceFault) {
      try body()
    } catch {
      guard case .noAnswer = error.reason else { throw Disproof("\(operation): \(error)") }
      return
    }
    throw Disproof("a \(operation) was answered although the memory space is off")
  }
}

/// What a hostile holder can do: it has a descriptor of the whole device, and switches its memory off.
struct SwitchOff: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "switch-off")

  /// `VFIO_PCI_CONFIG_REGION_INDEX`, where vfio-pci puts it, and COMMAND.
  private static let command = 7 << 40 | 4

  func run() throws {
    guard let text = unsafe getenv("GENPOOL_LEASE_FD"),
      let descriptor = CInt(unsafe String(cString: text))
    else { throw Disproof("no lease: run it by genpoolctl lease acquire") }
    let off: [UInt8] = [0, 0]
    try expect(
      unsafe pwrite(descriptor, off, 2, Self.command) == 2, "COMMAND cannot be written: \(errno)")
  }
}
