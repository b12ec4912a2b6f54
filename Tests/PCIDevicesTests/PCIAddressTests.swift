import PCIDevices
import Testing

@Suite struct PCIAddressTests {
  @Test(arguments: [
    ("0000:01:00.0", "0000:01:00.0"), ("01:00.0", "0000:01:00.0"), ("0000:FF:1f.7", "0000:ff:1f.7"),
    ("10000:e1:00.0", "10000:e1:00.0"), ("ffffffff:00:00.0", "ffffffff:00:00.0"),
    ("00010000:01:02.3", "10000:01:02.3"),
  ])
  func `an address is printed as sysfs names it`(text: String, printed: String) throws {
    let address = try #require(PCIAddress(text))
    #expect(address.description == printed)
    #expect(PCIAddress(address.description) == address)
  }

  @Test(arguments: [
    "", ":", "0000", "01:00", "1:00.0", "01:0.0", "01:00.8", "01:20.0", "0000:01:00.0 ", " 01:00.0",
    "0000:01:00.00", "000:01:00.0", "100000000:01:00.0", "0000:01:00:0", "0000:01:00.0.0",
    "-1:00.0",
    "0x:00.0", "0000:0g:00.0", "01:00.", ".0", "0000::00.0", "٠١:00.0",
  ])
  func `what is no address does not parse`(text: String) {
    #expect(PCIAddress(text) == nil)
  }

  @Test func `a device above 31 or a function above 7 does not exist`() {
    #expect(PCIAddress(bus: 0, device: 32, function: 0) == nil)
    #expect(PCIAddress(bus: 0, device: 31, function: 8) == nil)
    #expect(PCIAddress(domain: .max, bus: .max, device: 31, function: 7) != nil)
  }

  @Test func `addresses sort as lspci sorts them`() throws {
    let texts = ["0000:00:02.0", "0000:00:10.0", "0000:00:10.1", "0000:02:00.0", "10000:00:00.0"]
    let addresses = texts.compactMap { PCIAddress($0) }
    #expect(addresses.count == texts.count)
    #expect(addresses.shuffled().sorted() == addresses)
  }
}

@Suite struct DeviceIdentityTests {
  @Test func `ids print as lspci prints them`() {
    #expect(DeviceIdentity(vendor: 0x1b36, device: 0x10).description == "1b36:0010")
    #expect(DeviceIdentity("1B36:0010") == DeviceIdentity(vendor: 0x1b36, device: 0x10))
  }

  @Test(arguments: ["", "1b36", "1b36:10", "1b36:0010:0", "1b36:001g", "0x1b36:0010"])
  func `what is no pair of ids does not parse`(text: String) {
    #expect(DeviceIdentity(text) == nil)
  }

  @Test func `a class code has three parts`() {
    let code = ClassCode(0xff01_0802)
    #expect(code.description == "0x010802")
    #expect((code.base, code.subclass, code.interface) == (0x01, 0x08, 0x02))
  }
}
