import CLinux

/// Raises this process's limit of open descriptors to `wanted`, or to the hard limit if that is
/// lower. Leaves it when the kernel refuses.
package func raiseDescriptorLimit(to wanted: UInt64) {
  _ = gl_raise_descriptor_limit(wanted)
}
