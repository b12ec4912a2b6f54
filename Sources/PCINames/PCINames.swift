import CPCINames

/// What people call PCI devices, from libpci's database (`pci.ids`).
///
/// A courtesy: without a database, or with one that libpci cannot read, there are no names, and nothing
/// else changes. Scans no bus and asks no network. Not for use by several threads at once.
// SAFETY: owns the database: opened by init, closed by deinit, used in between only.
@safe public struct PCINames: ~Copyable {
  private let database: OpaquePointer

  /// Room for one name; the longest in the database are below 200 bytes, and longer ones are cut.
  private static let capacity = 512

  /// Reads the database at `path`, or else where libpci was installed with it. Takes some
  /// milliseconds: open it once. Nil when there is none, or it cannot be read.
  public init?(path: String? = nil) {
    let opened = if let path { unsafe gn_open(path) } else { unsafe gn_open(nil) }
    guard let opened = unsafe opened else { return nil }
    unsafe database = opened
  }

  deinit {
    unsafe gn_close(database)
  }

  /// The vendor: `Red Hat, Inc.` for 0x1b36.
  public func name(vendor: UInt16) -> String? {
    unsafe name { unsafe gn_vendor_name(database, vendor, $0, $1) }
  }

  /// Vendor and device: `Red Hat, Inc. QEMU NVM Express Controller` for 0x1b36, 0x0010. Nil when the
  /// database knows the vendor only.
  public func name(vendor: UInt16, device: UInt16) -> String? {
    unsafe name { unsafe gn_device_name(database, vendor, device, $0, $1) }
  }

  /// The base class and subclass, the upper two bytes of a class code: `Non-Volatile memory
  /// controller` for 0x0108.
  public func name(class baseAndSubclass: UInt16) -> String? {
    unsafe name { unsafe gn_class_name(database, baseAndSubclass, $0, $1) }
  }

  private func name(_ lookUp: (UnsafeMutablePointer<CChar>, Int) -> Bool) -> String? {
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: Self.capacity) { buffer in
      guard let name = buffer.baseAddress, unsafe lookUp(name, buffer.count) else { return nil }
      return unsafe String(cString: name)
    }
  }
}
