public import CGenPool
import DeviceMemory
import GenPool
import Glibc

@c @implementation
public func genpool_region_describe(
  _ region: OpaquePointer, _ facts: UnsafeMutablePointer<genpool_region_facts>
) -> CInt {
  let region = unsafe RegionHandle.at(region)
  let caching =
    switch region.caching {
    case .uncached: GENPOOL_CACHING_UNCACHED
    case .writeCombining: GENPOOL_CACHING_WRITE_COMBINING
    case .cached: GENPOOL_CACHING_CACHED
    }
  let source = region.source == .vfio ? GENPOOL_SOURCE_VFIO : GENPOOL_SOURCE_SYSFS
  return unsafe SizedStruct.write(
    genpool_region_facts(
      size: 0, start: UInt(region.start.rawValue), length: region.size.rawValue,
      physical: region.physical?.rawValue ?? .max, bus: region.bus?.rawValue ?? .max,
      source: source.rawValue, caching: caching.rawValue,
      chunks: UInt32(clamping: region.chunkCount),
      uses: region.traits.uses.rawValue & GENPOOL_USE_ALL.rawValue),
    to: facts)
}

@c @implementation
public func genpool_region_add(
  _ region: OpaquePointer, _ pool: UnsafeMutablePointer<gen_pool>, _ owner: UnsafeMutableRawPointer?
) -> CInt {
  let region = unsafe RegionHandle.at(region)
  guard !region.isRegisters else {
    ErrorText.set("add a region to a pool: registers are no memory to allocate from")
    return -EINVAL
  }
  guard region.isOurs else {
    ErrorText.set("add a region to a pool: the parent process has it mapped, and this one has not")
    return -EPERM
  }
  let handle = unsafe PoolHandle(pool)
  let word = unsafe owner.map { Owner(UInt(bitPattern: $0)) }
  return ErrorText.answer { () throws(PoolError) in
    try handle.adding(chunkAt: region.start) { (pool) throws(PoolError) in
      try region.add(to: pool, owner: word)
    }
  }
}

@c @implementation
public func genpool_bus_address(
  _ pool: UnsafeMutablePointer<gen_pool>, _ addr: UInt, _ bus: UnsafeMutablePointer<UInt64>
) -> CInt {
  let address = VirtualAddress(UInt64(addr))
  guard let found = unsafe PoolHandle(pool).withPool({ $0.busAddress(of: address) }) else {
    ErrorText.set("find the bus address of \(address): no chunk with a bus address has it")
    return -ENXIO
  }
  unsafe bus.pointee = found.rawValue
  return 0
}
