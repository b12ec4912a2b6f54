import DeviceEvents
import Glibc
import PCIDevices

/// Prints the devices that are plugged in and pulled out, until `last` is.
func watchDevices(until last: PCIAddress) throws {
  let tree = DeviceTree()
  let events = try DeviceEvents.watch(tree)  // before listing: nothing falls between the two
  print("\(try tree.list().devices.count) devices")
  var entry = pollfd(fd: events.descriptor, events: Int16(POLLIN), revents: 0)
  var isThere = true
  while isThere, poll(&entry, 1, -1) >= 0 {
    try events.drain { event in
      print(event)
      if event == .removed(last) { isThere = false }  // unmap its memory now
    }
  }
}

if let device = PCIAddress("0000:01:00.0") { try watchDevices(until: device) }
