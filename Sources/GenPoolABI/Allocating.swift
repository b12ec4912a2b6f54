public import CGenPool
import GenPool

extension PoolHandle {
  /// Allocates as the algorithm says, which the pool's own is if nil; nil for failure of any kind, of
  /// which the caller has been told if it is to blame.
  @inline(__always)
  func allocate(_ size: Int, _ fit: Fit?) -> Allocation? {
    if isRecorded { return allocateRecorded(size, fit) }
    return withPool { pool in
      do throws(PoolError) {
        return try pool.allocate(ByteCount(UInt64(UInt(bitPattern: size))), fit: fit)
      } catch {
        Self.tell(error)
        return nil
      }
    }
  }

  /// Tells the caller what it is to blame for. Exhaustion is no misuse.
  @inline(never)
  static func tell(_ error: PoolError) {
    switch error {
    case .emptyRequest, .full, .fragmented, .noAlignedRun, .notFree: break
    case .forked, .fitOutOfRange, .fitNotFree: Misuse.fatal("allocate: \(error)")
    default: ErrorText.set(error)
    }
  }

  /// Whether the pool's own algorithm is the first fit, which the pool underneath does by itself.
  @inline(__always)
  var isFirstFit: Bool {
    unsafe Algorithm.address(pointer.pointee.algo) == Algorithm.address(gen_pool_first_fit)
  }

  /// Allocates with the pool's own algorithm.
  @inline(__always)
  func allocate(_ size: Int) -> Allocation? {
    if isFirstFit { return allocate(size, nil) }
    return unsafe allocate(size, pointer.pointee.algo, pointer.pointee.data)
  }

  @inline(never)
  func allocate(
    _ size: Int, _ algorithm: genpool_algo_t?, _ data: UnsafeMutableRawPointer?
  ) -> Allocation? {
    guard let fit = unsafe Algorithm.fit(algorithm, data, for: self) else { return nil }
    return allocate(size, fit)
  }
}

extension Allocation {
  /// The owner as C has it.
  var ownerPointer: UnsafeMutableRawPointer? {
    unsafe UnsafeMutableRawPointer(bitPattern: owner?.rawValue ?? 0)
  }
}

@c @implementation
public func gen_pool_alloc(_ pool: UnsafeMutablePointer<gen_pool>, _ size: Int) -> UInt {
  let allocation = unsafe PoolHandle(pool).allocate(size)
  return allocation.map { UInt($0.start.rawValue) } ?? 0
}

@c @implementation
public func gen_pool_alloc_algo(
  _ pool: UnsafeMutablePointer<gen_pool>, _ size: Int, _ algo: genpool_algo_t,
  _ data: UnsafeMutableRawPointer?
) -> UInt {
  let allocation = unsafe PoolHandle(pool).allocate(size, algo, data)
  return allocation.map { UInt($0.start.rawValue) } ?? 0
}

@c @implementation
public func gen_pool_alloc_owner(
  _ pool: UnsafeMutablePointer<gen_pool>, _ size: Int,
  _ owner: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> UInt {
  let allocation = unsafe PoolHandle(pool).allocate(size)
  unsafe owner?.pointee = allocation?.ownerPointer
  return allocation.map { UInt($0.start.rawValue) } ?? 0
}

@c @implementation
public func gen_pool_alloc_algo_owner(
  _ pool: UnsafeMutablePointer<gen_pool>, _ size: Int, _ algo: genpool_algo_t,
  _ data: UnsafeMutableRawPointer?, _ owner: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) -> UInt {
  let allocation = unsafe PoolHandle(pool).allocate(size, algo, data)
  unsafe owner?.pointee = allocation?.ownerPointer
  return allocation.map { UInt($0.start.rawValue) } ?? 0
}

@c @implementation
public func gen_pool_free(_ pool: UnsafeMutablePointer<gen_pool>, _ addr: UInt, _ size: Int) {
  unsafe gen_pool_free_owner(pool, addr, size, nil)
}

@c @implementation
public func gen_pool_free_owner(
  _ pool: UnsafeMutablePointer<gen_pool>, _ addr: UInt, _ size: Int,
  _ owner: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
) {
  unsafe owner?.pointee = nil
  let handle = unsafe PoolHandle(pool)
  handle.withPool { pool in
    do throws(PoolError) {
      let start = VirtualAddress(UInt64(addr)), bytes = ByteCount(UInt64(UInt(bitPattern: size)))
      let found =
        handle.isRecorded ? try handle.freeing(start, bytes) : try pool.free(start, size: bytes)
      if let owner = unsafe owner {
        unsafe owner.pointee = UnsafeMutableRawPointer(bitPattern: found?.rawValue ?? 0)
      }
    } catch {
      Misuse.fatal(
        "gen_pool_free of \(UInt(bitPattern: size)) bytes at \(VirtualAddress(UInt64(addr))): \(error)"
      )
    }
  }
}
