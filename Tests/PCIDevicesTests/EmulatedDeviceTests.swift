import DeviceEmulation
import DeviceFixtures
import GenPool
import PCIDevices
import Testing

@Suite struct EmulatedDeviceTests {
  @Test func `a text with options describes a device`() throws {
    let device = try EmulatedDevice.parse(
      "memory,size=2M,vendor=0x10ee,device=0x9034,address=10000:02:00.0,bus-offset=0x4000000,"
        + "driver=vfio-pci,group=12,node=1,removable=yes")
    #expect(device.identity == DeviceIdentity(vendor: 0x10ee, device: 0x9034))
    #expect(device.bars.map(\.size) == [.mebibytes(2)])
    #expect(device.address == PCIAddress("10000:02:00.0"))
    #expect(device.busOffset == BusOffset(0x400_0000))
    #expect(device.driver == "vfio-pci" && device.iommuGroup == 12)
    #expect(device.numaNode == NUMANode(1) && device.isRemovable == true)
  }

  @Test func `ivshmem is QEMU's device`() throws {
    let device = try EmulatedDevice.parse("ivshmem,size=16M")
    #expect(device.identity.description == "1af4:1110")
    #expect(device.classCode == ClassCode(0x050000))
    #expect(device.bars.map(\.index) == [0, 2])
    #expect(device.bars.map(\.size) == [256, .mebibytes(16)])
  }

  @Test(arguments: [
    ("", "no kind \"\"; there are ivshmem, memory, nvme"),
    ("gpu", "no kind \"gpu\"; there are ivshmem, memory, nvme"),
    ("nvme,size=4M", "no option size; there are cmb, pmr, address, bus-offset"),
    ("nvme,", "lacks its value"), ("nvme,cmb", "cmb lacks its value"),
    ("nvme,cmb=1M,cmb=2M", "cmb is given twice"), ("nvme,cmb=", "cmb lacks its value"),
    ("nvme,cmb=lots", "cmb=lots is no size"),
    ("nvme,cmb=3M", "BAR 2 of 3 MiB: a size must be a power of two"),
    ("nvme,cmb=0", "CMBSZ has no unit for that"), ("nvme,cmb=2K", "CMBSZ has no unit for that"),
    ("ivshmem,size=1K", "memory must have at least"),
    ("memory,size=0", "a size must be a power of two"),
    ("memory,vendor=10ee", "vendor=10ee is not a number like 0x1b36"),
    ("memory,vendor=0x10000", "is not a number like 0x1b36"),
    ("nvme,address=1.0", "address=1.0 is not an address like 0000:01:00.0"),
    ("nvme,bus-offset=-", "bus-offset=- is not an offset"),
    ("nvme,bus-offset=0x8000000000000000", "is not an offset"),
    ("nvme,cmb=64M,bus-offset=1M", "a bus offset of 0x100000 would leave BAR 2 (64 MiB) unaligned"),
    ("nvme,driver=../../etc", "is not a driver's name"), ("nvme,driver=", "driver lacks its value"),
    ("nvme,group=-1", "group=-1 is not a number"), ("nvme,node=70000", "is not a number"),
    ("nvme,removable=maybe", "removable=maybe is not yes or no"),
  ])
  func `what describes no device is an error that says what would`(text: String, problem: String)
    throws
  {
    let error = try #require(throws: EmulationError.self) { try EmulatedDevice.parse(text) }
    #expect(error.description.contains(problem), "\(error)")
  }

  @Test func `BARs cannot share a register`() throws {
    let identity = DeviceIdentity(vendor: 1, device: 2)
    for bars in [
      [EmulatedBAR(index: 0, size: 4096, is64Bit: true), EmulatedBAR(index: 1, size: 4096)],
      [EmulatedBAR(index: 5, size: 4096, is64Bit: true)],
    ] {
      let device = EmulatedDevice(
        identity: identity, subsystem: identity, classCode: ClassCode(0), bars: bars)
      #expect(throws: EmulationError.self) { try TemporaryTree([device]) }
    }
  }

  @Test func `a bus offset goes either way and stays in the address space`() {
    let start = PhysicalAddress(0x80_0000_0000)
    #expect(BusOffset("-0x4000000000")?.bus(of: start) == BusAddress(0x40_0000_0000))
    #expect(BusOffset("512G")?.bus(of: start) == BusAddress(0x100_0000_0000))
    #expect(BusOffset("-1T")?.bus(of: start) == nil)
    #expect(BusOffset(.max).bus(of: PhysicalAddress(.max)) == nil)
    #expect(BusOffset(.min).bus(of: start) == nil)
    #expect(BusOffset("-0x10")?.description == "-0x10")
  }
}

@Suite struct NVMeRegisterImageTests {
  /// A register of `count` bytes.
  private func register(_ image: NVMeRegisterImage, _ offset: Int, _ count: Int) -> UInt64 {
    image.bytes[offset..<(offset + count)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }

  @Test func `64 MiB are announced as QEMU announces them`() throws {
    let image = try NVMeRegisterImage(memory: .mebibytes(64), in: 2)
    #expect(register(image, 0x3c, 4) == 0x4021d)
    #expect(register(image, 0x38, 4) == 2)
    #expect(register(image, 0x00, 8) >> 57 & 1 == 1)
    #expect(register(image, 0x08, 4) == 0x10300)
    #expect(register(image, 0x1c, 4) == 0, "neither ready nor failed")
  }

  @Test func `CMBSZ says every power of two from 4 KiB to 1 TiB`() throws {
    for order in 12...40 as ClosedRange<UInt64> {
      let size = ByteCount(1 << order)
      let register = register(try NVMeRegisterImage(memory: size, in: 2), 0x3c, 4)
      let unit: UInt64 = 4096 << (4 * (register >> 8 & 0xf))
      #expect((register >> 12) * unit == size.rawValue)
      #expect(register >> 8 & 0xf <= 6)
    }
  }

  @Test func `a controller without memory announces none`() throws {
    let image = try NVMeRegisterImage(memory: nil, in: 2)
    #expect(register(image, 0x38, 8) == 0 && register(image, 0x00, 8) >> 57 == 0)
  }
}
