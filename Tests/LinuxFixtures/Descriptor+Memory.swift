import CTestMemory
package import LinuxSystem
package import SystemPackage

extension Descriptor {
  /// Memory with a descriptor: a file of `size` bytes of zeros in no directory. memfd_create(2).
  package init(memory name: String, size: UInt64) throws(Errno) {
    try self.init(result: unsafe cm_create(name, size))
  }
}
