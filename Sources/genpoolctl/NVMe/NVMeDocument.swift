import BrokerProtocol
import DeviceDMA
import GenPool
import NVMe
import PCIDevices

/// A controller as `--json` shows it. What is not known is left out.
struct NVMeDocument: Encodable {
  let address: String
  let driver: String?
  /// What the driver calls it.
  let name: String?
  let model: String?, serial: String?, firmware: String?, state: String?
  let version: String?
  let registers: Registers?
  /// Whether there is memory of a kind: `present`, `not-enabled`, `none` or `unknown`.
  let cmb: String, pmr: String
  let memories: [Memory]
  let unknown: [String]

  /// The registers by their names in the specification, for those who know them: `0x` and as many
  /// digits as the register has.
  struct Registers: Encodable {
    let CAP: String, VS: String, CC: String, CSTS: String, CMBLOC: String, CMBSZ: String
    let CMBMSC: String?, CMBSTS: String?
    let PMRCAP: String?, PMRCTL: String?, PMRSTS: String?, PMREBS: String?, PMRSWTP: String?
    let PMRMSC: String?

    init(_ registers: NVMeRegisters) {
      CAP = Self.text(registers.capabilities.rawValue)
      VS = Self.text(registers.version.rawValue)
      CC = Self.text(registers.configuration.rawValue)
      CSTS = Self.text(registers.status.rawValue)
      CMBLOC = Self.text(registers.bufferLocation)
      CMBSZ = Self.text(registers.bufferSize)
      CMBMSC = registers.bufferControl.map { Self.text($0.rawValue) }
      CMBSTS = registers.bufferStatus.map { Self.text($0.rawValue) }
      let region = registers.persistentRegion
      PMRCAP = region.map { Self.text($0.capabilities) }
      PMRCTL = region.map { Self.text($0.isEnabled ? 1 : 0 as UInt32) }
      PMRSTS = region.map { Self.text($0.status.rawValue) }
      PMREBS = region.map { Self.text($0.elasticity) }
      PMRSWTP = region.map { Self.text($0.throughput) }
      PMRMSC = region.map { Self.text($0.control.rawValue) }
    }

    private static func text<Value: FixedWidthInteger & UnsignedInteger>(_ value: Value) -> String {
      "0x" + hexadecimal(UInt64(value), digits: Value.bitWidth / 4)
    }
  }

  /// A memory of the controller's.
  struct Memory: Encodable {
    let kind: String
    let bar: Int?
    let offset: ByteCount?, size: ByteCount?, announced: ByteCount?
    let physical: PhysicalAddress?
    let bus: BusAddress?
    let uses: [String]?
    /// What CMBLOC allows beyond the specification's stricter rules.
    let allows: [String]?
    let problem: String?
    let refusals: [Broker1.Refusal]

    init(_ memory: NVMeSurvey.Memory, of device: Device) {
      kind = memory.kind.rawValue
      refusals = memory.refusals.map {
        Broker1.Refusal(rule: $0.rule, subject: $0.subject, cause: $0.cause, cure: $0.cure)
      }
      let found = try? memory.found.get()
      let whole = found.flatMap { device.bar($0.bar) }
      bar = found?.bar.rawValue
      offset = found?.offset
      size = found?.size
      announced = found?.announced
      physical = whole.flatMap { bar in found?.physical(in: bar) }
      bus = whole.flatMap { bar in found?.bus(in: bar) }
      uses = found?.uses.words
      allows = memory.kind == .buffer ? found?.rules.words : nil
      if case .failure(let error) = memory.found {
        problem = error.description
      } else {
        problem = nil
      }
    }
  }

  init(_ survey: NVMeSurvey) {
    address = survey.device.address.description
    driver = survey.device.driver
    name = survey.attributes?.name
    model = survey.attributes?.model
    serial = survey.attributes?.serial
    firmware = survey.attributes?.firmware
    state = survey.attributes?.state
    version = survey.registers?.version.description
    registers = survey.registers.map(Registers.init)
    cmb = survey.presence(of: .buffer).rawValue
    pmr = survey.presence(of: .persistentRegion).rawValue
    memories = survey.memories.map { Memory($0, of: survey.device) }
    unknown = survey.unknown
  }
}
