import LinuxSystem

/// A descriptor that leases are sent, open as long as its region lends it and replies with it wait
/// to be sent.
final class LentDescriptor {
  private let descriptor: Descriptor

  init(_ descriptor: consuming Descriptor) {
    self.descriptor = descriptor
  }

  var rawValue: CInt { descriptor.rawValue }

  /// Lets go of the device, whoever still keeps this: what is sent from now on is `/dev/null`.
  func revoke() {
    // Without a descriptor left for that the device waits until the replies have gone.
    try? descriptor.lead(to: "/dev/null")
  }
}
