public import CGenPool
import DeviceMemory
import GenPool
import Glibc

@c @implementation
public func genpool_chunk_drain(_ pool: UnsafeMutablePointer<gen_pool>, _ start_addr: UInt) -> CInt
{
  let handle = unsafe PoolHandle(pool)
  handle.endRecord(by: "genpool_chunk_drain")
  return ErrorText.answer { () throws(PoolError) in
    try handle.pool.drain(chunkAt: VirtualAddress(UInt64(start_addr)))
  }
}

@c @implementation
public func genpool_chunk_undrain(
  _ pool: UnsafeMutablePointer<gen_pool>, _ start_addr: UInt
) -> CInt {
  let handle = unsafe PoolHandle(pool)
  handle.endRecord(by: "genpool_chunk_undrain")
  return ErrorText.answer { () throws(PoolError) in
    try handle.pool.undrain(chunkAt: VirtualAddress(UInt64(start_addr)))
  }
}

@c @implementation
public func genpool_chunk_remove(
  _ pool: UnsafeMutablePointer<gen_pool>, _ start_addr: UInt
) -> CInt {
  let handle = unsafe PoolHandle(pool)
  handle.endRecord(by: "genpool_chunk_remove")
  return ErrorText.answer { () throws(PoolError) in
    try handle.pool.remove(chunkAt: VirtualAddress(UInt64(start_addr)))
  }
}

@c @implementation
public func genpool_region_take_back(
  _ region: OpaquePointer, _ pool: UnsafeMutablePointer<gen_pool>
) -> CInt {
  let start = unsafe RegionHandle.at(region).start
  let handle = unsafe PoolHandle(pool)
  handle.endRecord(by: "genpool_region_take_back")
  return ErrorText.answer { () throws(PoolError) in try handle.pool.remove(chunkAt: start) }
}

@c @implementation
public func genpool_pool_statistics(
  _ pool: UnsafeMutablePointer<gen_pool>, _ statistics: UnsafeMutablePointer<genpool_statistics>
) -> CInt {
  let pool = unsafe PoolHandle(pool).pool
  let now = pool.statistics
  return unsafe SizedStruct.write(
    genpool_statistics(
      size: 0, total: now.size.rawValue, available: now.available.rawValue,
      largest: now.largestFreeRun.rawValue, free_runs: UInt64(now.freeRuns),
      chunks: UInt64(pool.chunks.count), peak: now.peak.rawValue,
      allocations: UInt64(now.allocations), frees: UInt64(now.frees),
      failed_full: UInt64(now.failedFull), failed_fragmented: UInt64(now.failedFragmented),
      cached: now.cached.rawValue),
    to: statistics)
}
