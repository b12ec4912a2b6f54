import DeviceFixtures
import PCIDevices
import SystemPackage
import Testing

@testable import genpoolctl

/// What `nvme show` finds out, on emulated controllers.
@Suite struct NVMeSurveyTests {
  private func survey(_ tree: TemporaryTree) throws -> NVMeSurvey {
    try NVMeSurvey(tree.address, in: DeviceTree(root: tree.root), allowed: [], isProbing: false)
  }

  @Test func `CMBLOC's rules are shown to people and to programs`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M")
    let strict = try survey(tree)
    #expect(strict.text(DeviceNames()).contains("allows       no mixing of memory"))
    #expect(NVMeDocument(strict).memories.first?.allows == [])
    // CMBLOC: BIR 2, CDPMLS and CDPCILS, as QEMU has it.
    let file = tree.path("resource0")
    let registers = try FileDescriptor.open(file, .readWrite)
    try registers.closeAfter {
      _ = try registers.writeAll(toAbsoluteOffset: 0x38, [0x62, 0, 0, 0])
    }
    let free = try survey(tree)
    let text = free.text(DeviceNames())
    #expect(text.contains("allows       a list partly in it (CDPMLS)\n"))
    #expect(text.contains("lists of commands that are elsewhere (CDPCILS)\n"))
    #expect(NVMeDocument(free).memories.first?.allows?.count == 2)
  }

  @Test func `a controller of vfio-pci is opened through VFIO, or it is said why not`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M,driver=vfio-pci")
    let survey = try survey(tree)
    #expect(survey.registers == nil && survey.attributes == nil)
    let said = try #require(survey.unknown.first)
    #expect(said.hasPrefix("The registers could not be read") && said.contains("no-iommu-group"))
    #expect(!said.contains("attributes"))
  }

  @Test func `a controller with a driver of its own is left alone`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M,driver=nvme")
    let survey = try survey(tree)
    #expect(survey.registers == nil)
    #expect(survey.unknown.first?.contains("its registers were not touched") == true)
  }

  @Test func `no controller is probed that a driver in user space may run`() throws {
    let tree = try TemporaryTree("nvme,cmb=1M,driver=uio_pci_generic")
    func survey(isProbing: Bool) throws -> NVMeSurvey {
      try NVMeSurvey(
        tree.address, in: DeviceTree(root: tree.root), allowed: [], isProbing: isProbing)
    }
    let before = try tree.state()
    let probed = try survey(isProbing: true)
    #expect(probed.registers == nil)
    #expect(
      probed.unknown.first?.contains("genpoolctl device release \(tree.address) first") == true)
    #expect(try tree.state() == before)
    #expect(try survey(isProbing: false).registers != nil)
  }
}
