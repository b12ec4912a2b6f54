import Glibc
import LinuxSystem
import SystemPackage

/// Claims on block devices. Whatever mounts a device, swaps to it or builds something of it claims
/// it in the kernel, in whatever namespace, and nobody else can then open it with O_EXCL: open(2).
extension DeviceUse {
  /// Those of the block devices `names` that are claimed, `used` left out: nothing says more of
  /// them. None under an emulated root, whose devices are not those of `/dev`.
  static func claims(
    among names: [String], used: Set<String>, under root: SysfsRoot
  ) throws(DeviceError) -> [DeviceUse] {
    guard root.isMachines else { return [] }
    var used = used
    var claims: [DeviceUse] = []
    // Partitions come before their disk: as long as one is claimed the disk cannot be had, either,
    // and the partition is what has to be named.
    for name in names.sorted().reversed() where !used.contains(name) {
      let node = root["class/block"][name]
      var isPartUsed = false
      for part in used where try node[part].exists() { isPartUsed = true }
      // Without a number it is a path to a disk with several, and cannot be opened by anybody.
      guard !isPartUsed, let number = try node["dev"].optionalAttribute()?.lines.first,
        let claim = claim(on: name, number: number)
      else { continue }
      claims.insert(claim, at: 0)
      used.insert(name)
    }
    return claims
  }

  /// Whether block device `name` is claimed; nil when not. On doubt it is not said to be free.
  /// - Parameters:
  ///   - number: its `major:minor`.
  ///   - directory: where its file is.
  package static func claim(
    on name: String, number: String, in directory: String = "/dev"
  ) -> DeviceUse? {
    // sysfs has `!` where the kernel's name has a slash.
    let path = directory + "/" + String(name.map { $0 == "!" ? "/" : $0 })
    func undecided(_ errno: CInt, _ cause: String? = nil) -> DeviceUse {
      let error = SystemError(
        operation: "open", subject: path, errno: Errno(rawValue: errno), cause: cause)
      return .undecided(name: name, because: error.description)
    }
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else { return undecided(errno) }
    guard status.st_mode & S_IFMT == S_IFBLK,
      number == deviceNumber(status.st_rdev)
    else { return undecided(ENOTBLK, "it is not device \(number)") }
    let descriptor = unsafe open(path, O_RDONLY | O_EXCL | O_NONBLOCK | O_CLOEXEC)
    guard descriptor < 0 else {
      close(descriptor)
      return nil
    }
    switch errno {
    case EBUSY: return .claimed(name: name)
    // It has just gone, or has nothing in it.
    case ENXIO, ENODEV, ENOMEDIUM: return nil
    default: return undecided(errno)
    }
  }

  /// `major:minor` of the C library's `dev_t`: makedev(3), whose macros Swift cannot see.
  private static func deviceNumber(_ device: dev_t) -> String {
    let major = device >> 8 & 0xfff | device >> 32 & ~0xfff
    let minor = device & 0xff | device >> 12 & ~0xff & 0xffff_ffff
    return "\(major):\(minor)"
  }
}

extension SysfsRoot {
  /// Whether it is the machine's own, by whatever path, and not an emulated tree.
  package var isMachines: Bool {
    var own = stat()
    var machines = stat()
    guard unsafe stat(path.string, &own) == 0, unsafe stat("/sys", &machines) == 0 else {
      return false
    }
    return own.st_dev == machines.st_dev && own.st_ino == machines.st_ino
  }
}
