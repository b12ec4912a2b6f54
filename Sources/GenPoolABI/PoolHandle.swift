public import CGenPool
import CGenPool.Private
import GenPool
import Glibc

/// A `struct gen_pool` of C, and the pool that it stands for.
///
/// The struct shows what C code may read; it holds one reference to the pool. How a place is chosen is
/// read from it at each call, as the kernel does: `data` may change between two allocations.
// SAFETY: made by `create` alone, ended by `end` alone. That C neither writes its fields nor uses it
// after its end is the contract of the header; the pool is safe to use from any thread.
@safe
struct PoolHandle: @unchecked Sendable {
  let pointer: UnsafeMutablePointer<gen_pool>

  @inline(__always)
  init(_ pointer: UnsafeMutablePointer<gen_pool>) {
    unsafe self.pointer = pointer
  }

  /// A new pool; nil for an order that is none.
  static func create(
    order: CInt, node: CInt, name: String? = nil, device: DeviceKey? = nil
  ) -> PoolHandle? {
    guard (0...63).contains(order) else {
      Misuse.warning("create a pool: a granule of 2^\(order) bytes is none (0 to 63)")
      return nil
    }
    let pool = Pool(
      granule: GranuleSize(order: Int(order)), name: name, device: device,
      node: node < 0 ? nil : NUMANode(Int(node)), warning: { Misuse.warning("\($0)") })
    // Not by Swift, which would abort without memory.
    let copy = unsafe name.map { unsafe strdup($0) }
    guard unsafe copy != .some(nil),
      let memory = unsafe calloc(1, MemoryLayout<gp_pool>.size)
    else {
      if let copy = unsafe copy { unsafe free(copy) }
      ErrorText.set("create a pool: there is no memory for it")
      return nil
    }
    let pointer = unsafe memory.bindMemory(to: gp_pool.self, capacity: 1)
    unsafe pointer.initialize(
      to: gp_pool(
        shown: gen_pool(
          min_alloc_order: order, algo: gen_pool_first_fit, data: nil,
          name: UnsafePointer(copy ?? nil),
          implementation: Unmanaged.passRetained(pool).toOpaque()),
        recording: nil, had_cache: false))
    return unsafe PoolHandle(memory.assumingMemoryBound(to: gen_pool.self))
  }

  /// The whole allocation, with the fields behind the struct that C sees.
  @inline(__always)
  var hidden: UnsafeMutablePointer<gp_pool> {
    unsafe UnsafeMutableRawPointer(pointer).assumingMemoryBound(to: gp_pool.self)
  }

  /// Frees the struct and lets go of the pool.
  func end() {
    if let recording = endRecording() { recording.end() }
    unsafe free(UnsafeMutableRawPointer(mutating: pointer.pointee.name))
    unsafe Unmanaged<Pool>.fromOpaque(pointer.pointee.implementation).release()
    unsafe free(pointer)
  }

  /// Runs `body` on the pool. Counts no references: the handle has one.
  @inline(__always)
  func withPool<Result>(_ body: (Pool) -> Result) -> Result {
    let unmanaged = unsafe Unmanaged<Pool>.fromOpaque(pointer.pointee.implementation)
    return unsafe unmanaged._withUnsafeGuaranteedRef(body)
  }

  /// The pool, for more than a call.
  var pool: Pool {
    unsafe Unmanaged<Pool>.fromOpaque(pointer.pointee.implementation).takeUnretainedValue()
  }
}

@c @implementation
public func gen_pool_create(_ min_alloc_order: CInt, _ nid: CInt) -> UnsafeMutablePointer<gen_pool>?
{
  unsafe PoolHandle.create(order: min_alloc_order, node: nid)?.pointer
}

@c @implementation
public func gen_pool_destroy(_ pool: UnsafeMutablePointer<gen_pool>) {
  let handle = unsafe PoolHandle(pool)
  guard handle.pool.device == nil else {
    return Misuse.fatal("destroy a pool of devm_gen_pool_create: it ends with its device")
  }
  do {
    try handle.pool.destroy()
  } catch {
    return Misuse.fatal("destroy a pool: \(error)")
  }
  handle.recording?.write("X = ok")
  handle.end()
}

@c @implementation
public func gen_pool_add(
  _ pool: UnsafeMutablePointer<gen_pool>, _ addr: UInt, _ size: Int, _ nid: CInt
) -> CInt {
  unsafe gen_pool_add_owner(pool, addr, .max, size, nid, nil)
}

@c @implementation
public func gen_pool_add_virt(
  _ pool: UnsafeMutablePointer<gen_pool>, _ addr: UInt, _ phys: phys_addr_t, _ size: Int,
  _ nid: CInt
) -> CInt {
  unsafe gen_pool_add_owner(pool, addr, phys, size, nid, nil)
}

@c @implementation
public func gen_pool_add_owner(
  _ pool: UnsafeMutablePointer<gen_pool>, _ virt: UInt, _ phys: phys_addr_t, _ size: Int,
  _ nid: CInt, _ owner: UnsafeMutableRawPointer?
) -> CInt {
  let handle = unsafe PoolHandle(pool)
  let start = VirtualAddress(UInt64(virt))
  do {
    // SAFETY: gen_pool_dma_zalloc writes there, and in C that is for the caller to have thought of.
    try handle.adding(chunkAt: start) { (pool) throws(PoolError) in
      try unsafe pool.add(
        mapped: start, size: ByteCount(UInt64(UInt(bitPattern: size))),
        physical: phys == .max ? nil : PhysicalAddress(phys),
        owner: owner.map { Owner(UInt(bitPattern: $0)) },
        backing: nil)
    }
    return 0
  } catch {
    if case .forked = error { Misuse.fatal("add a chunk: \(error)") }
    ErrorText.set(error)
    return -error.errorNumber
  }
}
