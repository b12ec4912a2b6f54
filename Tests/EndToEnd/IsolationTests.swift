import Foundation
import Glibc
import TestSupport
import Testing

/// Two users and one device: memory that another process maps is neither erased nor leased.
@Suite(.serialized) struct IsolationTests {
  @Test(arguments: ["", "/dev/shm"])
  func `an emulated BAR that a process maps is not attached, nor erased`(place: String) throws {
    let machine = try place.isEmpty ? EmulatedMachine() : EmulatedMachine(below: place)
    let file = "\(machine.directory)/bus/pci/devices/\(machine.device)/resource2"
    let holder = try MappingProcess(file)
    let daemon = try RunningDaemon(machine, ["--attach", "\(machine.device):2,name=cmb"])
    try daemon.waitUntilReady(at: machine.socket)
    let refused = try machine.control("pool", "attach", "\(machine.device):2")
    #expect(refused.status == 75 && refused.errors.contains("still maps memory of it"))
    #expect(try holder.end() == MappingProcess.text + "\n")
    #expect(daemon.end() == 0)
  }

  @Test func `a pool shows what decides when another user may lease`() throws {
    let machine = try EmulatedMachine()
    let daemon = try RunningDaemon(machine, ["--attach", "\(machine.device):2,name=cmb"])
    try daemon.waitUntilReady(at: machine.socket)
    let shown = try machine.control("pool", "show", "cmb")
    #expect(shown.output.contains(/next user +when the kernel sees that no process reaches/))
    #expect(shown.fitsTerminal)
    let document = try machine.control("pool", "show", "cmb", "--json").output
    #expect(document.contains("\"witness\" : \"file-lease\""))
    #expect(document.contains("\"reach\" : \"free\""))
    let device = try machine.control("device", "show", machine.device)
    #expect(device.output.contains("one user at a time") && device.fitsTerminal)
    #expect(
      try machine.control("device", "show", machine.device, "--json").keys.contains("witness"))
    _ = daemon.end()
  }

  @Test(.enabled(if: getuid() == 0, "only root can be another user, and mount"))
  func `where the file system cannot tell, memory stays with its user, across runs`() throws {
    let overlay = try OverlayMachine()
    let attach = ["--attach", "0000:01:00.0:2,name=cmb"]
    let first = try overlay.daemon(attach)
    let shown = try overlay.control("pool", "show", "cmb", "--json").output
    #expect(shown.contains("\"none\""))
    func lease(uid: Int?) throws -> Executable.Result {
      try overlay.control(
        uid: uid, "lease", "acquire", "--pool", "cmb", "--size", "4K", "--fill", "1")
    }
    #expect(try lease(uid: 1001).status == 0)
    let refused = try lease(uid: 1002)
    #expect(refused.status == 75 && refused.errors.contains("cannot be seen"))
    #expect(try lease(uid: 1001).status == 0, "its user goes on")
    #expect(try overlay.control("pool", "show", "cmb").output.contains("uid 1001"))

    first.end()
    let second = try overlay.daemon(attach)
    let waiting = try overlay.control("pool", "show", "cmb", "--json").output
    #expect(waiting.contains("waiting") && waiting.contains("an earlier run"))
    let plain = try overlay.control("pool", "attach", "0000:01:00.0:2,name=cmb")
    #expect(plain.status != 0)
    #expect(plain.errors.contains("genpoolctl pool attach 0000:01:00.0:2,name=cmb --force"))
    #expect(try lease(uid: 1001).status == 75)
    let forced = try overlay.control("pool", "attach", "0000:01:00.0:2,name=cmb", "--force")
    #expect(forced.status == 0 && forced.errors.contains("cannot be seen"))
    #expect(try lease(uid: 1002).status == 0)

    let detached = try overlay.control("pool", "detach", "cmb")
    #expect(detached.status == 0 && detached.errors.contains("warning: it cannot be seen"))
    #expect(try overlay.control("pool", "attach", "0000:01:00.0:2,name=cmb").status == 0)
    #expect(try lease(uid: 1001).status == 0)

    second.end(SIGTERM)
    let third = try overlay.daemon(attach)
    #expect(try lease(uid: 1002).status == 75, "an end in order does not make it free")
    #expect(try lease(uid: 1001).status == 0)
    third.end(SIGTERM)
  }
}
