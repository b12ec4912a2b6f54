import BrokerLeases

/// The attached regions, by identity and by name.
///
/// A name is that of the newest region that has it: one whose device has gone may keep it beside
/// its successor.
struct RegionList {
  /// In the order in which they were attached.
  private(set) var all: [AttachedRegion] = []
  private var places: [RegionID: AttachedRegion] = [:]
  private var names: [String: [AttachedRegion]] = [:]

  subscript(id: RegionID) -> AttachedRegion? { places[id] }

  func named(_ name: String) -> AttachedRegion? { names[name]?.last }

  /// Whether a name is that of a region. One that only the kernel waits for leaves it to another.
  func isTaken(_ name: String) -> Bool { names[name]?.contains { !$0.isAwaitedByKernel } ?? false }

  mutating func append(_ region: AttachedRegion) {
    all.append(region)
    places[region.id] = region
    names[region.name, default: []].append(region)
  }

  /// O(regions).
  mutating func remove(_ region: AttachedRegion) {
    all.removeAll { $0 === region }
    places[region.id] = nil
    names[region.name]?.removeAll { $0 === region }
    if names[region.name]?.isEmpty == true { names[region.name] = nil }
  }
}
