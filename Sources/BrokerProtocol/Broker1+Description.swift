extension Broker1 {
  /// The interface's text, as `GetInterfaceDescription` serves it: io.genpool.Broker1.varlink, byte
  /// for byte. The build compiles the file in, since a resource beside the executable needs
  /// Foundation's bundles to be found.
  public static let interfaceDescription = String(
    decoding: PackageResources.io_genpool_Broker1_varlink, as: UTF8.self)
}
