import GenPool
import Glibc

/// libgenpool, loaded as a program that does not link it would, and a pool of it.
// SAFETY: the functions are those of genpool.h, and of a library that is never unloaded; they are called
// with the pool alone, and with what it handed out.
@safe
struct LoadedLibrary {
  private typealias Handle = UnsafeMutableRawPointer
  private typealias Create = @convention(c) (CInt, CInt) -> Handle?
  private typealias Add = @convention(c) (Handle, UInt, UInt64, Int, CInt) -> CInt
  private typealias Allocate = @convention(c) (Handle, Int) -> UInt
  private typealias AllocateAligned =
    @convention(c) (Handle, Int, UnsafeMutablePointer<UInt64>?, CInt) -> UInt
  private typealias Free = @convention(c) (Handle, UInt, Int) -> Void
  private typealias AllocateBatch =
    @convention(c) (Handle, Int, Int, UnsafeMutablePointer<UInt>) -> CInt
  private typealias FreeBatch = @convention(c) (Handle, Int, Int, UnsafePointer<UInt>) -> CInt

  private typealias CreateCache =
    @convention(c) (Handle, Int, Int, UnsafeMutablePointer<Handle?>) -> CInt

  private let pool: Handle
  private let cache: Handle
  private let allocateCached: Allocate
  private let freeCached: Free
  private let allocateOne: Allocate
  private let allocateAligned: AllocateAligned
  private let freeOne: Free
  private let allocateMany: AllocateBatch
  private let freeMany: FreeBatch

  /// How long the file is.
  let size: ByteCount
  /// How long dlopen() took.
  let loading: Duration

  struct Failure: Error, CustomStringConvertible {
    let description: String
  }

  /// Loads the library at `path`, and makes a pool of pages.
  init(path: String, start: UInt64, size: ByteCount) throws(Failure) {
    var status = stat()
    guard unsafe stat(path, &status) == 0 else {
      throw Failure(description: "no library at \(path): make build")
    }
    self.size = ByteCount(UInt64(status.st_size))
    let clock = ContinuousClock()
    let began = clock.now
    let opened = unsafe dlopen(path.contains("/") ? path : "./" + path, RTLD_NOW)
    loading = began.duration(to: clock.now)
    guard let library = unsafe opened else {
      throw Failure(description: unsafe String(cString: dlerror()))
    }
    func symbol<Function>(_ name: String, as type: Function.Type) throws(Failure) -> Function {
      guard let address = unsafe dlsym(library, name) else {
        throw Failure(description: "\(path) has no \(name)")
      }
      return unsafe unsafeBitCast(address, to: type)
    }
    unsafe allocateOne = try symbol("gen_pool_alloc", as: Allocate.self)
    unsafe allocateAligned = try symbol("gen_pool_dma_alloc_align", as: AllocateAligned.self)
    unsafe freeOne = try symbol("gen_pool_free", as: Free.self)
    unsafe allocateMany = try symbol("genpool_alloc_batch", as: AllocateBatch.self)
    unsafe freeMany = try symbol("genpool_free_batch", as: FreeBatch.self)
    let create = unsafe try symbol("gen_pool_create", as: Create.self)
    let add = unsafe try symbol("gen_pool_add_virt", as: Add.self)
    guard let pool = unsafe create(12, -1),
      unsafe add(pool, UInt(start), start, Int(size.rawValue), -1) == 0
    else { throw Failure(description: "\(path) makes no pool") }
    unsafe self.pool = pool
    unsafe allocateCached = try symbol("genpool_cache_alloc", as: Allocate.self)
    unsafe freeCached = try symbol("genpool_cache_free", as: Free.self)
    let createCache = unsafe try symbol("genpool_cache_create", as: CreateCache.self)
    var cache: Handle?
    guard unsafe createCache(pool, 0, 0, &cache) == 0, let cache = unsafe cache else {
      throw Failure(description: "\(path) makes no cache")
    }
    unsafe self.cache = cache
  }

  /// Allocates and frees a page.
  @inline(__always)
  func usePage() {
    let address = unsafe allocateOne(pool, 4096)
    unsafe freeOne(pool, address, 4096)
  }

  /// Allocates and frees a page by the cache.
  @inline(__always)
  func useCachedPage() {
    let address = unsafe allocateCached(cache, 4096)
    unsafe freeCached(cache, address, 4096)
  }

  /// Allocates and frees 64 KiB for a device, aligned.
  @inline(__always)
  func useAligned() {
    var bus: UInt64 = 0
    let address = unsafe allocateAligned(pool, 65536, &bus, 65536)
    unsafe freeOne(pool, address, 65536)
  }

  /// Allocates `size` bytes; the address, 0 for none.
  @inline(__always)
  func allocate(_ size: Int) -> UInt { unsafe allocateOne(pool, size) }

  /// Frees what was allocated.
  @inline(__always)
  func free(_ address: UInt, _ size: Int) { unsafe freeOne(pool, address, size) }

  /// Allocates `count` times `size` bytes; whether it did.
  @unsafe
  @inline(__always)
  func allocateBatch(
    _ size: Int, _ count: Int, _ addresses: UnsafeMutablePointer<UInt>
  ) -> Bool {
    unsafe allocateMany(pool, size, count, addresses) == 0
  }

  /// Frees a batch; whether it did.
  @unsafe
  @inline(__always)
  func freeBatch(_ size: Int, _ count: Int, _ addresses: UnsafePointer<UInt>) -> Bool {
    unsafe freeMany(pool, size, count, addresses) == 0
  }
}
