import DeviceMemory
import GenPool
import GenPoolClient
import Glibc

/// A lease, as long as it is needed.
func useLease() throws {
  let connection = try Connection()  // to GENPOOL_SOCKET, else the system's daemon
  let lease = try connection.acquire(.mebibytes(1), alignment: .kibibytes(64))
  try lease.region.write([1, 2, 3, 4], at: .zero)
  print("pool \(lease.grant.pool), device \(lease.bus.map(String.init(describing:)) ?? "unknown")")
  try lease.release()
}

do {
  try useLease()
} catch {
  print(error)
  exit(1)
}
