/// Whether a controller has memory of a kind, as far as can be known of it now.
public enum MemoryPresence: String, Hashable, Sendable, CaseIterable {
  /// Its registers, or its driver's attributes, show it.
  case present
  /// A buffer is announced (CAP.CMBS), and its registers read as 0 until the host asks for them
  /// (CMBMSC.CRE, NVMe 1.4 section 3.1.14): enabling it shows it.
  case notEnabled = "not-enabled"
  /// The registers show that there is none.
  case none
  /// Neither registers nor attributes could be read.
  case unknown
}

extension NVMeRegisters {
  /// Whether the controller has memory of a kind; never `unknown`. That the memory can be used,
  /// which takes a BAR and values that the specification allows, is not implied.
  public func presence(of kind: ControllerMemory.Kind) -> MemoryPresence {
    switch kind {
    case .persistentRegion: persistentRegion == nil ? .none : .present
    case .buffer:
      // A size of 0 units is no buffer, whatever the lower bits hold.
      if bufferSize.bits(31, 12) > 0 {
        .present
      } else if let control = bufferControl, !control.showsRegisters {
        .notEnabled
      } else {
        .none
      }
    }
  }
}

extension NVMeAttributes {
  /// Whether the driver's attributes show memory of a kind. Its driver asks a controller for a
  /// hidden buffer by itself, and no attribute is about a persistent memory region.
  public func presence(of kind: ControllerMemory.Kind) -> MemoryPresence {
    switch kind {
    case .persistentRegion: .unknown
    case .buffer:
      if let size = bufferSize { size.bits(31, 12) > 0 ? .present : .none } else { .unknown }
    }
  }
}
