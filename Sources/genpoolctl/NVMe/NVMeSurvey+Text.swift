import DeviceDMA
import GenPool
import NVMe
import PCIDevices

extension NVMeSurvey {
  /// The survey for people: every field in words, with the register that it was read from, and what
  /// is a pool.
  func text(_ names: borrowing DeviceNames, _ pools: AttachedPools? = nil) -> String {
    var sheet = FactSheet()
    sheet.add("controller", device.address.description)
    sheet.add("name", names.name(of: device)?.cut(to: 66))
    sheet.add("ids", "\(device.identity)" + (device.subsystem.map { ", board \($0)" } ?? ""))
    sheet.add(
      "driver",
      device.driver.map { driver in
        attributes.map { "\(driver), which calls it \($0.name)" } ?? driver
      } ?? "none")
    sheet.add("model", attributes?.model)
    sheet.add("serial", attributes?.serial)
    sheet.add("firmware", attributes?.firmware)
    sheet.add("state", attributes?.state)
    if let registers { add(registers, to: &sheet) }
    var text = sheet.text
    for memory in memories { text += "\n" + describe(memory, pools) }
    if ControllerMemory.Kind.allCases.allSatisfy({ presence(of: $0) == .none }) {
      let reason =
        registers?.capabilities.hasControllerMemoryBuffer == true
        ? " It announces a controller memory buffer (CAP.CMBS), and CMBSZ, which can be read "
          + "(CMBMSC.CRE), has the size 0." : ""
      text += "\n" + "The controller has no memory of its own.\(reason)".wrapped() + "\n"
    }
    for sentence in unknown { text += "\n" + sentence.wrapped() + "\n" }
    if registers == nil, let sentence = pools?.sentence { text += "\n" + sentence.wrapped() + "\n" }
    return text
  }

  private func add(_ registers: NVMeRegisters, to sheet: inout FactSheet) {
    let (capabilities, configuration) = (registers.capabilities, registers.configuration)
    sheet.add("version", "NVMe \(registers.version) (VS)")
    let state = [
      configuration.isEnabled ? "enabled (CC.EN)" : "disabled (CC.EN)",
      registers.status.isReady ? "ready" : "not ready",
      registers.status.isFatal ? "FAILED: only a reset helps (CSTS.CFS)" : nil,
      registers.status.shutdown == .complete ? "shut down" : nil,
    ]
    sheet.add("state", state.compactMap { $0 }.joined(separator: ", "))
    sheet.add("ready within", "\(capabilities.timeout) of being told (CAP.TO)")
    sheet.add(
      "queues",
      "up to \(capabilities.queueEntries) entries (CAP.MQES)"
        + (capabilities.needsContiguousQueues ? ", contiguous" : ""))
    sheet.add("doorbells", "\(capabilities.doorbellStride) apart (CAP.DSTRD)")
    sheet.add(
      "pages", "\(capabilities.smallestPage) to \(capabilities.largestPage) (CAP.MPSMIN/MAX)")
    sheet.add(
      "commands", capabilities.hasNVMCommands ? "NVM (CAP.CSS)" : "not those of NVM (CAP.CSS)")
    sheet.add("subsystem", capabilities.hasSubsystemReset ? "can be reset (CAP.NSSRS)" : nil)
  }

  // MARK: Memory

  private func describe(_ memory: Memory, _ pools: AttachedPools?) -> String {
    let title =
      "\(memory.kind.words) (\(memory.kind.rawValue.uppercased()))\n"
    switch memory.found {
    case .failure(let error):
      return title + "unusable: \(error)".wrapped(indent: "  ") + "\n"
    case .success(let found):
      var sheet = FactSheet()
      addPlace(of: found, to: &sheet)
      addUses(of: found, to: &sheet)
      switch memory.kind {
      case .buffer:
        addRules(of: found, to: &sheet)
        addBuffer(to: &sheet)
      case .persistentRegion: addRegion(to: &sheet)
      }
      let lines = sheet.text.split(separator: "\n").map { "  \($0)\n" }.joined()
      let pool = pools?.verdict(on: found.bar).map { "  \($0)\n" }
      return title + lines + (pool ?? verdict(on: memory))
    }
  }

  private func addPlace(of memory: ControllerMemory, to sheet: inout FactSheet) {
    sheet.add("lies in", "BAR \(memory.bar), from \(memory.offset.hex) on, \(memory.size) long")
    if memory.announced != memory.size {
      sheet.add(
        "clipped", "its registers say \(memory.announced), but the BAR ends before that")
    }
    guard let bar = device.bar(memory.bar) else { return }
    sheet.add("physical", memory.physical(in: bar)?.description)
    sheet.add("bus", memory.bus(in: bar)?.description)
  }

  private func addUses(of memory: ControllerMemory, to sheet: inout FactSheet) {
    sheet.add("can hold", memory.uses.description)
    let missing =
      memory.kind == .buffer
      ? MemoryUses.all.subtracting(memory.uses)
      : MemoryUses([.readData, .writeData]).subtracting(memory.uses)
    sheet.add("cannot hold", missing.isEmpty ? nil : "\(missing), of the controller's own commands")
  }

  /// A line each: they are long.
  private func addRules(of memory: ControllerMemory, to sheet: inout FactSheet) {
    let words = memory.rules.words
    sheet.add("allows", words.first ?? "no mixing of memory in queues, lists and data (CMBLOC 8:3)")
    for rule in words.dropFirst() { sheet.add("", rule) }
  }

  private func addBuffer(to sheet: inout FactSheet) {
    let raw = registers?.bufferSize ?? attributes?.bufferSize
    if let raw, let size = try? CMBSize(rawValue: raw) {
      sheet.add("counted in", "\(size.count) units of \(size.unit) (CMBSZ), offsets too (CMBLOC)")
    }
    guard let registers else { return }
    guard let control = registers.bufferControl else {
      sheet.add("scheme", "NVMe 1.2: always enabled, known by its bus address")
      return
    }
    sheet.add(
      "scheme", "NVMe 1.4: enabled on request, known by an address of the host's choice (CMBMSC)")
    sheet.add(
      "enabled", control.isEnabled ? "yes, at \(control.base)" : "no; genpool enables it (CMBMSC)")
    if registers.bufferStatus?.isBaseInvalid == true {
      sheet.add("refused", "the controller did not take its base address (CMBSTS.CBAI)")
    }
  }

  private func addRegion(to sheet: inout FactSheet) {
    guard let region = registers?.persistentRegion else { return }
    let status = region.status
    sheet.add(
      "enabled",
      region.isEnabled ? (status.isReady ? "yes, and ready" : "yes, but not ready") : "no (PMRCTL)")
    sheet.add("health", Self.words(for: status.health))
    if status.error != 0 { sheet.add("error", "\(status.error), of the vendor's (PMRSTS.ERR)") }
    if let capabilities = try? PMRCapabilities(rawValue: region.capabilities) {
      sheet.add("ready within", "\(capabilities.timeout) of being told (PMRCAP.PMRTO)")
      var ways: [String] = []
      if capabilities.barriers.contains(.memoryRead) { ways.append("a read of the region") }
      if capabilities.barriers.contains(.statusRead) { ways.append("a read of PMRSTS") }
      sheet.add("writes last", ways.isEmpty ? nil : "after " + ways.joined(separator: " or "))
      sheet.add(
        "own commands",
        capabilities.hasMemorySpace
          ? (region.control.isEnabled ? "name it from \(region.control.base) on" : "can name it")
          : "cannot name it; other devices can, by its bus address")
    }
    if let buffer = try? PMRElasticity(rawValue: region.elasticity), buffer.size > .zero {
      sheet.add(
        "write buffer", "\(buffer.size)" + (buffer.readsBypass ? ", bypassed by reads" : ""))
    }
    if let rate = try? PMRThroughput(rawValue: region.throughput).bytesPerSecond, rate > .zero {
      sheet.add("sustained", "\(rate) a second (PMRSWTP)")
    }
  }

  private static func words(for health: PMRStatus.Health) -> String {
    switch health {
    case .normal: "normal"
    case .contentNotRestored: "what was in it could not be brought back at the last power-on"
    case .readOnly: "read-only: writes do not last"
    case .unreliable: "UNRELIABLE: its power protection or its medium fails"
    case .reserved: "a number without a meaning"
    }
  }

  /// What genpool can do with it, or why not.
  private func verdict(on memory: Memory) -> String {
    guard memory.refusals.isEmpty else {
      return memory.refusals.map { refusal in
        "refused by \(refusal.rule): \(refusal.cause)".wrapped(indent: "  ") + "\n"
          + "cure: \(refusal.cure)".wrapped(indent: "    ") + "\n"
      }.joined()
    }
    let place =
      "\(device.address):\(memory.kind.rawValue)" + (isBoundToVFIO ? ",source=vfio" : "")
    switch memory.kind {
    case .buffer: return "  can be leased: genpoolctl pool attach \(place)\n"
    case .persistentRegion:
      return "  can be leased, and is erased by that: genpoolctl pool attach \(place),erase=yes\n"
    }
  }
}
