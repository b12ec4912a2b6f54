import BrokerProtocol
import DeviceMemory

extension Witness {
  /// The condition under which another user may lease from a pool that one user at a time may use.
  var handover: String {
    switch self {
    case .perLease, .fileLease:
      "when the kernel sees that no process reaches the memory any more"
    case .reopening:
      "when VFIO opens the device anew, which it does not while a process maps its memory; the broker has it "
        + "do so when another user asks (while another pool uses the IOMMU group: after pool detach and attach)"
    case .none:
      "after pool detach and attach by an admin: it cannot be seen which processes map it (its file system "
        + "is none that tells, such as overlayfs)"
    }
  }
}

extension Broker1.Pool {
  /// The condition under which another user may lease; nil where several may at a time, and from
  /// older brokers.
  var handover: String? {
    guard isolation == Isolation.uidExclusive.rawValue else { return nil }
    let witness = witness.flatMap(Witness.init(rawValue:))
    // What was lent before it was attached, by another source: this witness does not answer for it.
    if reach == WitnessAnswer.unknown.rawValue, witness == .fileLease || witness == .perLease {
      return Witness.none.handover
    }
    return witness?.handover
  }

  /// The processes that may map its memory without the kernel telling; nil where there are none.
  var unseen: String? {
    guard reach == WitnessAnswer.unknown.rawValue else { return nil }
    return
      "what processes\(exclusiveUid.map { " of uid \($0)" } ?? "") passed on, which may still map it"
  }

  /// The note for an admin about a pool that the kernel cannot always answer for; nil for others.
  var isolationLimit: String? {
    let answers = [Witness.fileLease, .perLease].map(\.rawValue)
    guard !answers.contains(witness ?? "") || reach == WitnessAnswer.unknown.rawValue,
      let handover
    else { return nil }
    return "another user may lease \(handover)"
      + (exclusiveUid.map { "; uid \($0) alone may lease now" } ?? "")
  }
}
