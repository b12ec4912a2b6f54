import CGenPool.Private
import DeviceSources
import GenPool
import PCIDevices

/// Makes what Swift makes at first use: a child that is forked while another thread does so would
/// wait for that thread for ever. Costs a pool of nothing and two tables of rules.
@c @implementation
public func gp_prepare() {
  let pool = Pool(granule: .page, name: "")
  _ = try? pool.allocate(1)
  Openers.prepare()
  ManagedDevice.prepare()
  _ = AttachRule.sysfs.count + AttachRule.vfio.count
}
