import BrokerLeases
import BrokerProtocol
import DeviceMemory
import Glibc
import Logging
import PCIDevices

/// Opens the memory that an Attach names, and makes a region of it.
struct RegionOpener {
  private let provider: any DeviceProvider
  private let outstanding: OutstandingRecords
  private let admission: RegionAdmission

  init(_ provider: any DeviceProvider, _ outstanding: OutstandingRecords, _ logger: Logger) {
    self.provider = provider
    self.outstanding = outstanding
    admission = RegionAdmission(outstanding: outstanding, logger: logger)
  }

  /// Checks the parameters of an Attach.
  /// - Throws: InvalidParameter.
  func request(
    _ parameters: Broker1.Attach.Parameters, isSearched: Bool
  ) throws(BrokerError) -> AttachRequest {
    _ = try parameters.checkedGranule()
    try parameters.checkName()
    return try AttachRequest(parameters, isSearched: isSearched)
  }

  /// Opens the memory.
  /// - Parameter regions: those that are attached.
  /// - Throws: the provider's error.
  func open(
    _ request: AttachRequest, besides regions: [AttachedRegion]
  ) throws(BrokerError) -> OpenBAR {
    do throws(BrokerError) {
      return try provider.open(request)
    } catch {
      throw refusal(by: regions, of: error) ?? error
    }
  }

  /// The result of opening memory elsewhere.
  /// - Throws: its error, in the words of ``open(_:besides:)``.
  func explained<Memory>(
    _ result: Result<Memory, BrokerError>, besides regions: [AttachedRegion]
  ) throws(BrokerError) -> Memory {
    do throws(BrokerError) {
      return try result.get()
    } catch {
      throw refusal(by: regions, of: error) ?? error
    }
  }

  /// The error for memory that is a pool already, which names the pool: trying again is no use. Nil
  /// when `error` has another cause.
  private func refusal(by regions: [AttachedRegion], of error: BrokerError) -> BrokerError? {
    guard case .deviceError(let operation, let subject, EBUSY, _) = error,
      let pool = regions.first(where: { subject == "BAR \($0.bar) of \($0.device)" })
    else { return nil }
    return .deviceError(
      operation: operation, subject: subject, errno: EADDRINUSE,
      cause: "pool \(pool.name) has it: genpoolctl pool detach \(pool.name)")
  }

  /// Makes a region of opened memory.
  /// - Returns: the region, and the line of the log for it.
  /// - Throws: PoolExists; DeviceError when processes may reach the memory by another pool, or by
  ///   what an earlier one handed out.
  func makeRegion(
    _ id: RegionID, of open: consuming OpenBAR, _ request: AttachRequest,
    _ parameters: Broker1.Attach.Parameters, _ isolation: Isolation?, _ policy: PoolPolicy,
    besides regions: [AttachedRegion], _ audit: Logger.Metadata
  ) throws(BrokerError) -> (region: AttachedRegion, metadata: Logger.Metadata) {
    let region = try AttachedRegion(
      id: id, name: parameters.poolName(of: request), granule: try parameters.checkedGranule(),
      isolation: isolation, policy: policy, records: outstanding,
      opening: provider.opening(of: request), open: open)
    let onlyUser = try admission.admit(
      region, besides: regions, parameters.specification, isForced: parameters.force == true, audit)
    return (region, metadata(of: region, parameters, onlyUser).merging(audit) { $1 })
  }

  private func metadata(
    of region: AttachedRegion, _ parameters: Broker1.Attach.Parameters, _ onlyUser: UID?
  ) -> Logger.Metadata {
    var metadata: Logger.Metadata = [
      "pool": "\(region.name)", "memory": "\(printable(region.label))", "size": "\(region.size)",
      "caching": "\(region.caching.rawValue)", "isolation": "\(region.isolation.rawValue)",
    ]
    if let source = region.source { metadata["source"] = "\(source.rawValue)" }
    if let allowed = parameters.allow, !allowed.isEmpty {
      metadata["allow"] = "\(printable(allowed.joined(separator: "+")))"
    }
    if let access = region.policy.access {
      metadata["access"] = "\(printable(access.description.specification))"
    }
    if parameters.force == true { metadata["forced"] = "yes" }
    if let onlyUser { metadata["onlyUid"] = "\(onlyUser)" }
    if region.witness == .reopening || region.witness == .none, region.isolation == .uidExclusive {
      metadata["unseen"] = "\(region.blindness)"
    }
    return metadata
  }
}

extension Logger.Metadata {
  /// The broker as the one that acts, for what no connection asked for.
  static var broker: Self { ["uid": "\(geteuid())", "pid": "\(getpid())"] }
}
