import LinuxSystem
import SystemPackage
import Testing

struct SystemErrorTests {
  @Test func `an error names operation, subject, what the kernel said and the cause`() {
    let error = SystemError(
      operation: "map", subject: "BAR 2 of 0000:01:00.0", errno: .permissionDenied,
      cause: "kernel lockdown")
    #expect(error.description == "map BAR 2 of 0000:01:00.0: permission denied (kernel lockdown)")
  }

  @Test func `without a cause there are no parentheses`() {
    let error = SystemError(operation: "open", subject: "/dev/vfio/7", errno: .resourceBusy)
    #expect(error.description == "open /dev/vfio/7: device or resource busy")
  }
}
