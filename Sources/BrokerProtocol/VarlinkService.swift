/// `org.varlink.service`, which every varlink service has: who it is, and what it can do.
public enum VarlinkService {
  /// The interface's name.
  public static let interface = "org.varlink.service"

  /// The full names of its methods.
  public static let methods: Set<String> = [GetInfo.name, GetInterfaceDescription.name]

  /// Who the service is, and which interfaces it has.
  public enum GetInfo: VarlinkMethod {
    public static let name = "org.varlink.service.GetInfo"
    public typealias Parameters = NoParameters

    public struct Reply: Codable, Sendable, Equatable {
      public let vendor: String
      public let product: String
      public let version: String
      public let url: String
      public let interfaces: [String]

      public init(
        vendor: String, product: String, version: String, url: String, interfaces: [String]
      ) {
        self.vendor = vendor
        self.product = product
        self.version = version
        self.url = url
        self.interfaces = interfaces
      }
    }
  }

  /// An interface's text, comments included.
  public enum GetInterfaceDescription: VarlinkMethod {
    public static let name = "org.varlink.service.GetInterfaceDescription"

    public struct Parameters: VarlinkParameters {
      public let interface: String

      public enum CodingKeys: CodingKey, CaseIterable { case interface }

      public init(interface: String) {
        self.interface = interface
      }
    }

    public struct Reply: Codable, Sendable, Equatable {
      public let description: String

      public init(description: String) {
        self.description = description
      }
    }
  }

  /// The text of ``interface``, as varlink defines it.
  public static let interfaceDescription = """
    # What every varlink service answers: who it is, and what it can do.
    interface org.varlink.service

    # The service, and the names of its interfaces.
    method GetInfo() -> (
      vendor: string,
      product: string,
      version: string,
      url: string,
      interfaces: []string
    )

    # The text of one of its interfaces.
    method GetInterfaceDescription(interface: string) -> (description: string)

    error InterfaceNotFound (interface: string)

    error MethodNotFound (method: string)

    # The interface has the method, the service does not do it.
    error MethodNotImplemented (method: string)

    # A parameter is missing, of the wrong type, out of range or unknown.
    error InvalidParameter (parameter: string)

    error PermissionDenied ()

    # The method has to be called with "more".
    error ExpectedMore ()

    """
}
