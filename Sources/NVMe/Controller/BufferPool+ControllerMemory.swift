public import DeviceDMA
import DeviceMemory
public import GenPool
public import LinuxSystem

extension BufferPool.Memory {
  /// Maps a controller's own memory.
  public init(mapping opened: consuming OpenControllerMemory) throws(SystemError) {
    let (owner, uses) = (opened.owner, opened.memory.uses)
    self.init(
      SharedRegion(try Region(mapping: opened.intoRange())), owner: owner, ownUses: uses)
  }
}

extension BufferPool {
  /// Maps and pools a controller's own memory.
  public convenience init(
    mapping opened: consuming OpenControllerMemory, granule: GranuleSize = .page
  ) throws(BufferPoolError) {
    let memory: Memory
    do throws(SystemError) {
      memory = try Memory(mapping: opened)
    } catch {
      throw .system(error)
    }
    try self.init([memory], label: memory.region.region.range.label, granule: granule)
  }
}
