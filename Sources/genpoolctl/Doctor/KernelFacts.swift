import PCIDevices

/// The kernel, as far as it decides what can be done with memory of devices.
struct KernelFacts: Sendable {
  /// Its release, as uname(2) has it: `6.1.0-40-amd64`.
  let release: Fact<String>
  /// The extent to which it is locked down.
  let lockdown: Fact<Lockdown>
  /// Whether a BAR that a driver has claimed cannot be mapped (CONFIG_IO_STRICT_DEVMEM, unless
  /// `iomem=relaxed`).
  let isStrict: Fact<Bool>
  /// The state of VFIO's driver for PCI devices.
  let vfio: Fact<VFIO>
  /// The number of IOMMU groups.
  let iommuGroups: Fact<Int>

  /// The states of vfio-pci.
  enum VFIO: Hashable, Sendable {
    /// The driver is there, and `/dev/vfio/vfio` or `/dev/iommu`.
    case loaded
    /// The driver is there, without the device nodes: in a container.
    case withoutNodes
    /// The driver is a module that is not loaded.
    case loadable
    /// The kernel has none.
    case missing
  }

  /// Reads the facts of `root`.
  init(of root: SystemRoot) {
    release = root.text("/proc/sys/kernel/osrelease", limit: 4096).map {
      String($0.prefix { $0 != "\n" })
    }
    let configuration = KernelConfiguration(of: root, release: release.value)
    lockdown = Self.lockdown(of: root, configuration)
    isStrict = Self.strictness(of: root, configuration)
    vfio = Self.vfio(of: root, release: release.value, configuration)
    iommuGroups = Self.iommuGroups(of: root)
  }

  /// The first two numbers of ``release``.
  var version: (major: Int, minor: Int)? {
    let numbers = (release.value ?? "").split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
    return numbers.count == 2 ? (numbers[0], numbers[1]) : nil
  }

  /// The oldest kernel that genpool was tried on.
  static let oldestTried = (major: 6, minor: 1)

  private static func lockdown(
    of root: SystemRoot, _ configuration: KernelConfiguration
  ) -> Fact<Lockdown> {
    do throws(DeviceError) {
      let node = root.sysfs["kernel/security/lockdown"]
      if let text = try node.optionalAttribute() { return .known(try Lockdown(text)) }
    } catch {
      return .unknown(error.description)
    }
    // A tree's files are no BARs.
    if root.isEmulated { return .known(.none) }
    // The latter is that of distributions' kernels before 5.4.
    let options = ["SECURITY_LOCKDOWN_LSM", "LOCK_DOWN_KERNEL"]
    return options.allSatisfy { configuration[$0] == .known("n") }
      ? .known(.none) : .unknown("/sys/kernel/security has no lockdown")
  }

  private static func strictness(
    of root: SystemRoot, _ configuration: KernelConfiguration
  ) -> Fact<Bool> {
    if let line = root.text("/proc/cmdline", limit: 1 << 16).value,
      line.split(whereSeparator: \.isWhitespace).contains("iomem=relaxed")
    {
      return .known(false)
    }
    return configuration["IO_STRICT_DEVMEM"].map { $0 == "y" }
  }

  private static func vfio(
    of root: SystemRoot, release: String?, _ configuration: KernelConfiguration
  ) -> Fact<VFIO> {
    do throws(DeviceError) {
      if try root.sysfs["bus/pci/drivers/vfio-pci"].exists() {
        if try root["/dev/vfio/vfio"].exists() { return .known(.loaded) }
        return .known(try root["/dev/iommu"].exists() ? .loaded : .withoutNodes)
      }
    } catch {
      return .unknown(error.description)
    }
    if let release {
      for file in ["modules.dep", "modules.builtin"] {
        let text = root.text("/lib/modules/\(release)/\(file)", limit: 16 << 20).value ?? ""
        if text.contains("/vfio-pci.ko") { return .known(.loadable) }
      }
    }
    return switch configuration["VFIO_PCI"] {
    case .known("n"): .known(.missing)
    case .known("m"): .unknown("its module is not in /lib/modules/\(release ?? "")")
    case .known: .unknown("it is built in, but sysfs has no driver vfio-pci")
    case .unknown(let cause): .unknown("the driver is not loaded, and \(cause)")
    }
  }

  private static func iommuGroups(of root: SystemRoot) -> Fact<Int> {
    let node = root.sysfs["kernel/iommu_groups"]
    do throws(DeviceError) {
      return .known(try node.exists() ? node.entries().count : 0)
    } catch {
      return .unknown(error.description)
    }
  }
}

/// A kernel's configuration, from `/boot`, `/lib/modules` or `/proc/config.gz`.
struct KernelConfiguration: Sendable {
  /// The lines of the first of the files that could be read.
  private let lines: Fact<[Substring]>

  /// Reads the configuration of kernel `release` under `root`.
  init(of root: SystemRoot, release: String?) {
    lines = Self.text(of: root, release: release).map { $0.split(separator: "\n") }
  }

  private static func text(of root: SystemRoot, release: String?) -> Fact<String> {
    for path in release.map({ ["/boot/config-\($0)", "/lib/modules/\($0)/config"] }) ?? [] {
      if case .known(let text) = root.text(path), !text.isEmpty { return .known(text) }
    }
    do throws(DeviceError) {
      let packed = try root["/proc/config.gz"].bytes(limit: 4 << 20)
      if let text = GzipText(unpacking: packed) {
        return .known(String(decoding: text.bytes, as: UTF8.self))
      }
      return .unknown("/proc/config.gz is malformed")
    } catch {
      return .unknown("the kernel's configuration cannot be read (/boot/config-*, /proc/config.gz)")
    }
  }

  /// The value of option `name` without `CONFIG_`: `y`, `m`, or `n` when it is not set.
  subscript(_ name: String) -> Fact<String> {
    lines.map { lines in
      let start = "CONFIG_\(name)="
      return lines.first { $0.hasPrefix(start) }.map { String($0.dropFirst(start.count)) } ?? "n"
    }
  }
}
