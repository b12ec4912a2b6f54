import BrokerProtocol
import GenPool
import Testing

@Suite struct AttachSpecificationTests {
  @Test func `a device and a BAR are enough`() throws {
    let piece = try Broker1.Attach.Parameters(specification: "0000:01:00.0:2")
    #expect(piece == .init(device: "0000:01:00.0", bar: 2))
  }

  @Test func `all options are understood, in any order`() throws {
    let text =
      "01:00.0:0,source=vfio,name=cmb,allow=hotplug+not-prefetchable,granule=64K,size=0x100000,offset=1M"
    let piece = try Broker1.Attach.Parameters(specification: text)
    #expect(
      piece
        == .init(
          device: "0000:01:00.0", bar: 0, offset: .mebibytes(1), size: .mebibytes(1),
          granule: .kibibytes(64), name: "cmb", allow: ["hotplug", "not-prefetchable"],
          source: "vfio"))
  }

  @Test(arguments: [
    "0000:01:00.0:2,access=user:alice+user:1001+group:nvme", "0000:01:00.0:cmb,access=group:7",
    "0000:01:00.0:2", "0000:01:00.0:cmb,name=a", "0000:01:00.0:pmr,size=4096,erase=yes",
    "0000:01:00.0:0,offset=8192,size=4096,granule=65536,name=b,allow=hotplug+registers,source=vfio",
  ])
  func `what is written as a specification is read as the same`(text: String) throws {
    #expect(try Broker1.Attach.Parameters(specification: text).specification == text)
  }

  @Test(arguments: [
    ("", "starts with"), ("2", "starts with"), ("1:2", "starts with"),
    ("0000:01:00.0", "0000:01:00.0:2, 0000:01:00.0:cmb"), ("0000:01:00.0:6", "from 0 to 5"),
    ("0000:01:00.0:+2", "from 0 to 5"), ("0000:01:00.0:02", "from 0 to 5"),
    ("0000:01:00.0:2,allow=+", "rule without a name"),
    ("0000:01:00.0:2,allow=hotplug++display", "rule without a name"),
    ("0000:01:00.0:2,", "lacks its value"), ("0000:01:00.0:2,size", "size lacks its value"),
    ("0000:01:00.0:2,size=", "size lacks its value"), ("0000:01:00.0:2,size=big", "is no size"),
    ("0000:01:00.0:2,size=1,size=2", "size is given twice"),
    ("0000:01:00.0:2,access=alice", "is not like user:alice+group:nvme"),
    ("0000:01:00.0:2,access=user:", "is not like user:alice"),
    ("0000:01:00.0:2,access=user:a++group:b", "is not like user:alice"),
    ("0000:01:00.0:2,access=owner:a", "is not like user:alice"),
    ("0000:01:00.0:2,colour=red", "no option colour"),
    ("0000:01:00.0:registers", "registers are no memory"), ("0000:x:00.0:2", "an address like"),
  ])
  func `what cannot be read is named`(text: String, problem: String) {
    let error = #expect(throws: InvalidSpecification.self) {
      try Broker1.Attach.Parameters(specification: text)
    }
    #expect(error?.description.contains(problem) == true)
    #expect(error?.description.hasPrefix("attach \(text): ") == true)
  }
}
