import CGenPool
import DeviceMemory
import LinuxSystem
import SystemPackage

@c @implementation
public func genpool_version() -> UnsafePointer<CChar> {
  // SAFETY: a literal is there for good, and ends with a NUL.
  let version: StaticString = "0.1.0"
  return unsafe UnsafeRawPointer(version.utf8Start).assumingMemoryBound(to: CChar.self)
}

@c @implementation
public func genpool_guard_faults() -> CInt {
  do {
    try FaultGuard.enable()
    return 0
  } catch {
    ErrorText.set(error)
    return -error.errno.rawValue
  }
}
