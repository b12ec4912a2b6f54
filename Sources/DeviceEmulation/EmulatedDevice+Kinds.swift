public import GenPool
public import PCIDevices

extension EmulatedDevice {
  /// An NVMe controller like QEMU's, with a controller memory buffer of `memory` bytes in BAR 2 and a
  /// persistent memory region of `persistent` bytes in BAR 4, or without them.
  /// - Throws: when no CMBSZ register can say `memory`.
  public static func nvme(
    memory: ByteCount?, persistent: ByteCount? = nil
  ) throws(EmulationError) -> EmulatedDevice {
    let (buffer, region) = (2 as BAR.Index, 4 as BAR.Index)
    var bars = [
      EmulatedBAR(
        index: 0, size: NVMeRegisterImage.size, is64Bit: true,
        contents: try NVMeRegisterImage(
          memory: memory, in: buffer, persistentRegion: persistent == nil ? nil : region
        ).bytes)
    ]
    if let memory {
      bars.append(EmulatedBAR(index: buffer, size: memory, isPrefetchable: true, is64Bit: true))
    }
    if let persistent {
      bars.append(EmulatedBAR(index: region, size: persistent, isPrefetchable: true, is64Bit: true))
    }
    return EmulatedDevice(
      identity: DeviceIdentity(vendor: 0x1b36, device: 0x0010),
      subsystem: DeviceIdentity(vendor: 0x1af4, device: 0x1100), revision: 2,
      classCode: ClassCode(0x010802), bars: bars)
  }

  /// QEMU's inter-VM shared memory device: `size` bytes in BAR 2. Its registers (doorbell and the
  /// like, BAR 0, QEMU's docs/specs/ivshmem-spec) only read as zero here.
  public static func ivshmem(size: ByteCount) -> EmulatedDevice {
    EmulatedDevice(
      identity: DeviceIdentity(vendor: 0x1af4, device: 0x1110),
      subsystem: DeviceIdentity(vendor: 0x1af4, device: 0x1100),
      classCode: ClassCode(0x050000),
      bars: [
        EmulatedBAR(index: 0, size: 256),
        EmulatedBAR(index: 2, size: size, isPrefetchable: true, is64Bit: true),
      ])
  }

  /// A device that is nothing but `size` bytes of memory in BAR 0.
  public static func memory(size: ByteCount, identity: DeviceIdentity) -> EmulatedDevice {
    EmulatedDevice(
      identity: identity, subsystem: identity, classCode: ClassCode(0x058000),
      bars: [EmulatedBAR(index: 0, size: size, isPrefetchable: true, is64Bit: true)])
  }
}
