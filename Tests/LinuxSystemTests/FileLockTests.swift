import Glibc
import LinuxSystem
import SystemPackage
import Testing

/// Whether others still have a file open.
@Suite struct FileLockTests {
  @Test func `the kernel tells whether a file is open elsewhere, whoever takes locks off`() throws {
    var template = Array("/tmp/genpool-lock.XXXXXX".utf8CString)
    let number = unsafe mkstemp(&template)
    try #require(number >= 0)
    let file = Descriptor(owning: number)
    let path = FilePath(platformString: template)
    defer { unsafe unlink(path.string) }
    try file.write([0], at: 4095)
    #expect(try !file.isOpenElsewhere())
    let same = try file.duplicate()
    #expect(try !file.isOpenElsewhere(), "a duplicate is the same description")
    _ = consume same
    let other = try FileDescriptor.open(path, .readWrite)
    #expect(try file.isOpenElsewhere())
    let address = unsafe mmap(nil, 4096, PROT_READ, MAP_SHARED, other.rawValue, 0)
    try #require(unsafe address != MAP_FAILED)
    try other.close()
    #expect(try file.isOpenElsewhere(), "a mapping lives")
    unsafe munmap(address, 4096)
    #expect(try !file.isOpenElsewhere())
  }
}
