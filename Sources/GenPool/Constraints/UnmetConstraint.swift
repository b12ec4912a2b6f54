/// The constraint that no chunk of a pool could ever meet, and by how much it is missed.
///
/// Each holds for the chunks that meet those before it: size, NUMA node, uses, bus address,
/// boundary, limit.
public enum UnmetConstraint: Hashable, Sendable {
  /// No chunk is as long as the request: the longest has this much.
  case size(longest: ByteCount)
  /// No chunk that is long enough is of this NUMA node.
  case node(NUMANode)
  /// Each chunk lacks some of the uses: these are what the one that has the most of them lacks.
  case uses(missing: ChunkUses)
  /// A bus address is asked for, and no chunk has one that is known.
  case busAddress
  /// The request is longer than this boundary allows, or crosses one wherever it is put.
  case boundary(ByteCount)
  /// The lowest place that there is ends this much above the limit of bus addresses.
  case below(excess: ByteCount)
}

extension UnmetConstraint: CustomStringConvertible {
  /// The constraint and the amount: `no chunk is longer than 4 KiB`.
  public var description: String {
    switch self {
    case .size(.zero): "the pool has no chunk that is as long as a granule"
    case .size(let longest): "no chunk is longer than \(longest)"
    case .node(let node): "none that is long enough is of NUMA node \(node.rawValue)"
    case .uses(let missing):
      "none can be used for all that is asked (bits 0x\(hexadecimal(UInt64(missing.rawValue), digits: 1)) are missing)"
    case .busAddress: "no chunk has a known bus address"
    case .boundary(let boundary): "wherever it is put it crosses a multiple of \(boundary)"
    case .below(let excess): "the lowest place ends \(excess) above the limit of bus addresses"
    }
  }
}

extension RangeAllocator {
  /// The first constraint that no chunk could meet. O(chunks).
  ///
  /// Called when none could a moment ago; a chunk that came since may meet them all, and the limit
  /// is named then, with no excess.
  func unmet(_ constraints: Constraints, count: GranuleCount) -> UnmetConstraint {
    var search = UnmetSearch(constraints: constraints, count: count, granule: granule)
    list.forEach { chunk in
      withState(of: chunk) { state in
        guard !chunk.pointee.isRemoved else { return }
        search.look(
          at: state.identity.traits, granules: granule.granules(within: state.identity.size),
          bus: state.identity.bus)
      }
    }
    return search.result
  }
}

/// The constraints that the chunks seen so far meet.
private struct UnmetSearch {
  let constraints: Constraints
  let count: GranuleCount
  let granule: GranuleSize
  private var longest = GranuleCount(0)
  private var isLongEnough = false
  private var isOfNode = false
  /// Of the chunk that has the most of the uses.
  private var missing: ChunkUses?
  private var hasBus = false
  private var isWithinBoundary = false
  private var excess: UInt64?

  init(constraints: Constraints, count: GranuleCount, granule: GranuleSize) {
    self.constraints = constraints
    self.count = count
    self.granule = granule
  }

  mutating func look(at traits: ChunkTraits, granules: GranuleCount, bus: BusAddress?) {
    longest = max(longest, granules)
    guard granules >= count else { return }
    isLongEnough = true
    if let node = constraints.node, traits.node != node { return }
    isOfNode = true
    let isOthers = constraints.initiator.map { traits.device != $0 } ?? false
    let lacking = isOthers ? [] : constraints.uses.subtracting(traits.uses)
    if missing.map({ lacking.rawValue.nonzeroBitCount < $0.rawValue.nonzeroBitCount }) ?? true {
      missing = lacking
    }
    guard lacking.isEmpty, let bus else { return }
    hasBus = true
    var unlimited = constraints
    unlimited.below = nil
    let lowest = GranuleRun(first: GranuleIndex(0), count: count)
    guard
      let window = ChunkWindow(unlimited, count: count, bus: bus, granule: granule),
      let place = constraints.boundary == nil ? lowest : window.next(from: lowest),
      place.end.rawValue <= granules.rawValue
    else { return }
    isWithinBoundary = true
    guard let limit = constraints.below else { return }
    let offset = granule.bytes(GranuleCount(place.end.rawValue)).rawValue
    let end = bus.rawValue.addingReportingOverflow(offset)
    guard !end.overflow, end.partialValue > limit.rawValue else { return }
    excess = min(excess ?? .max, end.partialValue - limit.rawValue)
  }

  var result: UnmetConstraint {
    if !isLongEnough { return .size(longest: granule.bytes(longest)) }
    if let node = constraints.node, !isOfNode { return .node(node) }
    if let missing, !missing.isEmpty { return .uses(missing: missing) }
    if !hasBus { return .busAddress }
    if let boundary = constraints.boundary, !isWithinBoundary { return .boundary(boundary) }
    return .below(excess: ByteCount(excess ?? 0))
  }
}
