import CDeviceMemory
public import LinuxSystem
import SystemPackage

/// Makes memory that stops answering an error instead of the end of the process.
///
/// A truncated file, VFIO with the memory-space bit off, a revoked sysfs mapping: the kernel
/// answers an access with SIGBUS. With the guard enabled, accesses through ``Mapping`` and
/// ``Region`` throw ``DeviceFault`` instead. Accesses by other means, through a pointer say, are
/// not guarded.
public enum FaultGuard {
  /// Installs the SIGBUS handler, for the whole process and for good; a second call does nothing.
  ///
  /// Nobody's memory but the bytes being accessed is guarded: other faults go to the handler that
  /// was installed before, so call it after other runtimes have installed theirs. SIGBUS must not
  /// be blocked in threads that access devices, or the kernel kills the process.
  public static func enable() throws(SystemError) {
    let result = gd_fault_guard_enable()
    guard result == 0 else {
      throw SystemError(
        operation: "install", subject: "the SIGBUS handler", errno: Errno(rawValue: -result))
    }
  }

  /// Whether ``enable()`` has been called.
  public static var isEnabled: Bool { gd_fault_guard_is_enabled() }
}
