/// News of a device, by its address in canonical form.
public enum DeviceNews: Hashable, Sendable {
  case added(String)
  case removed(String)
  /// The kernel wants the device back: it is being removed, or its driver unbound, and that waits
  /// until no process has it open.
  case requested(String)
  /// News were lost: what is there has to be looked up.
  case lost
}
