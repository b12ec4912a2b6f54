public import CGenPool
import CGenPool.Private
import GenPool
import Glibc

/// A `struct genpool_cache` of C: one reference to the cache.
// SAFETY: made by `genpool_cache_create` alone, ended by `genpool_cache_destroy` alone, used by one
// thread at a time: the contract of the header.
@safe
private struct CacheHandle {
  private let cache: Unmanaged<Pool.AnyPlaceCache>

  @inline(__always)
  init(_ pointer: OpaquePointer) {
    unsafe cache = .fromOpaque(UnsafeRawPointer(pointer))
  }

  /// Runs `body` on the cache. Counts no references: the handle has one.
  @inline(__always)
  func withCache<Result>(_ body: (Pool.AnyPlaceCache) -> Result) -> Result {
    unsafe cache._withUnsafeGuaranteedRef(body)
  }

  static func create(_ cache: Pool.AnyPlaceCache) -> OpaquePointer {
    unsafe OpaquePointer(Unmanaged.passRetained(cache).toOpaque())
  }

  func end() { unsafe cache.release() }
}

@c @implementation
public func genpool_cache_create(
  _ pool: UnsafeMutablePointer<gen_pool>, _ largest: Int, _ limit: Int,
  _ cache: UnsafeMutablePointer<OpaquePointer?>?
) -> CInt {
  guard let cache = unsafe cache else {
    ErrorText.set("create a cache: there is no place for it")
    return -EINVAL
  }
  let handle = unsafe PoolHandle(pool)
  handle.endRecord(by: "genpool_cache_create")
  unsafe handle.hidden.pointee.had_cache = true
  let pool = handle.pool
  func size(_ bytes: Int) -> ByteCount? {
    bytes == 0 ? nil : ByteCount(UInt64(UInt(bitPattern: bytes)))
  }
  return ErrorText.answer { () throws(PoolError) in
    let made = try pool.cache(largest: size(largest), limit: size(limit))
    unsafe cache.pointee = CacheHandle.create(made)
  }
}

@c @implementation
public func genpool_cache_alloc(_ cache: OpaquePointer, _ size: Int) -> UInt {
  unsafe CacheHandle(cache).withCache { cache in
    do throws(PoolError) {
      return UInt(try cache.allocate(ByteCount(UInt64(UInt(bitPattern: size)))).start.rawValue)
    } catch {
      PoolHandle.tell(error)
      return 0
    }
  }
}

@c @implementation
public func genpool_cache_free(_ cache: OpaquePointer, _ addr: UInt, _ size: Int) {
  unsafe CacheHandle(cache).withCache { cache in
    do throws(PoolError) {
      try cache.free(
        VirtualAddress(UInt64(addr)), size: ByteCount(UInt64(UInt(bitPattern: size))))
    } catch {
      Misuse.fatal(
        "genpool_cache_free of \(UInt(bitPattern: size)) bytes at "
          + "\(VirtualAddress(UInt64(addr))): \(error)")
    }
  }
}

@c @implementation
public func genpool_cache_flush(_ cache: OpaquePointer) -> CInt {
  unsafe CacheHandle(cache).withCache { cache in
    ErrorText.answer { () throws(PoolError) in try cache.flush() }
  }
}

@c @implementation
public func genpool_cache_destroy(_ cache: OpaquePointer?) {
  guard let cache = unsafe cache else { return }
  unsafe CacheHandle(cache).end()
}
