// swift-tools-version: 6.2
import PackageDescription

/// Warnings are errors here, and every unsafe construct is spelled out.
let house: [SwiftSetting] = [
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

let argumentParser: Target.Dependency = .product(
  name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")

// Targets stand in the order in which the data flows: device, BAR, region, chunk, pool, lease, client.
let package = Package(
  name: "genpool",
  products: [
    .library(name: "GenPool", targets: ["GenPool"]),
    .library(name: "DeviceMemory", targets: ["LinuxSystem", "DeviceMemory"]),
    .library(name: "DeviceSources", targets: ["PCIDevices", "DeviceSources"]),
    .library(name: "DeviceDMA", targets: ["DeviceDMA"]),
    .library(name: "DriverBinding", targets: ["DriverBinding"]),
    .library(name: "DeviceEvents", targets: ["DeviceEvents"]),
    .library(name: "NVMe", targets: ["NVMe"]),
    .library(name: "DeviceOpener", targets: ["DeviceOpener"]),
    .library(name: "GenPoolClient", targets: ["BrokerProtocol", "GenPoolClient"]),
    .library(name: "genpool", type: .dynamic, targets: ["GenPoolABI"]),
    .executable(name: "genpoold", targets: ["genpoold"]),
    .executable(name: "genpoolctl", targets: ["genpoolctl"]),
    .executable(name: "genpool-nvme", targets: ["genpool-nvme"]),
    .executable(name: "genpool-bench", targets: ["genpool-bench"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    // The allocator. It knows nobody.
    .systemLibrary(name: "CGenPoolInline"),
    .target(name: "GenPool", dependencies: ["CGenPoolInline"], swiftSettings: house),

    // The system's calls that several modules use: descriptors, errors, waiting, sockets, locks, signals.
    .target(name: "CLinux"),
    .target(name: "LinuxSystem", dependencies: ["CLinux", system], swiftSettings: house),

    // The form of an option's text: HEAD,key=value,…. It knows no key.
    .target(name: "OptionText", swiftSettings: house),

    // JSON (RFC 8259) and Codable over it, strict, with a line and a column for each key and value.
    .target(name: "StrictJSON", swiftSettings: house),

    // Memory in hand: map it, touch it, make it a chunk. Opens nothing.
    .target(name: "CDeviceMemory"),
    .target(
      name: "DeviceMemory", dependencies: ["GenPool", "LinuxSystem", "CDeviceMemory", system],
      swiftSettings: house),

    // What is plugged in, and how a piece of it is opened.
    .target(
      name: "PCIDevices", dependencies: ["GenPool", "LinuxSystem", "OptionText", system],
      swiftSettings: house),
    .target(name: "CDeviceSources"),
    .target(
      name: "DeviceSources",
      dependencies: [
        "GenPool", "LinuxSystem", "DeviceMemory", "PCIDevices", "CDeviceSources", system,
      ],
      swiftSettings: house),
    // What a device that does DMA reaches, and by which address; and memory for it.
    .target(name: "CDeviceDMA"),
    .target(
      name: "DeviceDMA",
      dependencies: [
        "GenPool", "LinuxSystem", "DeviceMemory", "PCIDevices", "DeviceSources", "CDeviceDMA",
        system,
      ],
      swiftSettings: house),
    // Devices given to vfio-pci, and back to their drivers.
    .target(
      name: "DriverBinding", dependencies: ["LinuxSystem", "PCIDevices", "DeviceSources", system],
      swiftSettings: house),
    // NVMe controllers: their registers and memory, and a driver on genpool, whose queues, lists and data
    // lie where pools put them.
    .target(
      name: "NVMe",
      dependencies: [
        "GenPool", "LinuxSystem", "DeviceMemory", "PCIDevices", "DeviceSources", "DeviceDMA",
        "OptionText", system,
      ],
      swiftSettings: house),
    // Device memory by its name: the source or the controller that opens it.
    .target(
      name: "DeviceOpener",
      dependencies: [
        "GenPool", "LinuxSystem", "OptionText", "DeviceMemory", "PCIDevices", "DeviceSources",
        "DeviceDMA", "NVMe",
      ],
      swiftSettings: house),
    .target(
      name: "DeviceEmulation",
      dependencies: ["GenPool", "LinuxSystem", "OptionText", "PCIDevices", system],
      swiftSettings: house),

    // libgenpool: the kernel's gen_pool API for C, its header the contract. Brings Swift's runtime along,
    // so nothing else may link the target.
    .target(name: "CGenPool"),
    .target(
      name: "GenPoolABI",
      dependencies: [
        "CGenPool", "GenPool", "LinuxSystem", "DeviceMemory", "PCIDevices", "DeviceSources",
        "DeviceDMA", "NVMe", "DeviceOpener", system,
      ],
      exclude: ["genpool.map", "genpool.pc", "libgenpool.supp"], swiftSettings: house,
      linkerSettings: [
        .unsafeFlags([
          "-static-stdlib", "-Xlinker", "-soname=libgenpool.so.1",
          "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/GenPoolABI/genpool.map",
          "-Xlinker", "-z", "-Xlinker", "nodelete", "-Xlinker", "--gc-sections",
        ])
      ]),

    // Names by libpci (GPL): linked by the daemon and genpoolctl only.
    .systemLibrary(name: "CPCI", pkgConfig: "libpci", providers: [.apt(["libpci-dev"])]),
    .target(name: "CPCINames", dependencies: ["CPCI"]),
    .target(name: "PCINames", dependencies: ["CPCINames"], swiftSettings: house),

    // Hot-plug by libudev (LGPL): linked by the daemon and genpoolctl only.
    .systemLibrary(name: "CUdev", pkgConfig: "libudev", providers: [.apt(["libudev-dev"])]),
    .target(
      name: "DeviceEvents",
      dependencies: ["CUdev", "LinuxSystem", "PCIDevices", system],
      swiftSettings: house),

    // The broker: bytes to messages, who holds what, and the client's side of it.
    .target(
      name: "BrokerProtocol",
      dependencies: ["StrictJSON", "GenPool", "LinuxSystem", "PCIDevices", "OptionText", system],
      resources: [.embedInCode("io.genpool.Broker1.varlink")],
      swiftSettings: house),
    .target(
      name: "BrokerLeases", dependencies: ["GenPool", "BrokerProtocol"],
      path: "Sources/Broker/Leases",
      swiftSettings: house),
    .target(
      name: "Broker",
      dependencies: [
        "StrictJSON", "GenPool", "LinuxSystem", "DeviceMemory", "PCIDevices", "BrokerProtocol",
        "BrokerLeases", logging, system,
      ],
      exclude: ["Leases"], swiftSettings: house),
    .target(
      name: "GenPoolClient",
      dependencies: ["GenPool", "LinuxSystem", "DeviceMemory", "BrokerProtocol", system],
      swiftSettings: house),

    // Executables: parse, wire, run.
    .executableTarget(
      name: "genpoold",
      dependencies: [
        "StrictJSON", "GenPool", "LinuxSystem", "DeviceMemory", "PCIDevices", "DeviceSources",
        "DeviceOpener",
        "DeviceEvents", "PCINames", "BrokerProtocol", "BrokerLeases", "Broker", argumentParser,
        logging, system,
      ],
      swiftSettings: house),
    .executableTarget(
      name: "genpoolctl",
      dependencies: [
        "StrictJSON", "GenPool", "LinuxSystem", "DeviceMemory", "PCIDevices", "DeviceSources",
        "DeviceDMA",
        "DriverBinding", "NVMe", "DeviceEmulation",
        "DeviceEvents", "PCINames", "BrokerProtocol", "GenPoolClient", argumentParser, system,
      ],
      swiftSettings: house),
    // What the bench measures genpool against.
    .target(name: "CBaselines"),
    // What the bench and the tests compare its answers with: the plainest model, seeded numbers; and
    // threads that stress a pool. No product.
    .target(name: "Reference", dependencies: ["GenPool"], swiftSettings: house),
    .executableTarget(
      name: "genpool-nvme",
      dependencies: [
        "StrictJSON", "GenPool", "LinuxSystem", "DeviceMemory", "PCIDevices", "DeviceSources",
        "DeviceDMA",
        "NVMe", "DeviceOpener",
        argumentParser, system,
      ],
      exclude: ["README.md"], swiftSettings: house),
    .executableTarget(
      name: "genpool-bench",
      dependencies: [
        "GenPool", "LinuxSystem", "Reference", "CBaselines", "BrokerProtocol", "GenPoolClient",
        argumentParser,
      ],
      exclude: ["Results"], swiftSettings: house),

    // What Tests/Machine runs in its guests: DMA, and whether it arrived.
    .executableTarget(
      name: "dma-proof",
      dependencies: [
        "GenPool", "LinuxSystem", "DeviceMemory", "PCIDevices", "DeviceSources", "DeviceDMA",
        "NVMe", "DeviceOpener",
        "BrokerProtocol", "GenPoolClient", "Reference", argumentParser, system,
      ],
      path: "Tests/Machine/proof", swiftSettings: house),

    // A client that keeps memory beyond its lease. Tests/Machine's guests have it, and the tests.
    .executableTarget(
      name: "attacker", path: "Tests/Machine", sources: ["attacker.c"],
      cSettings: [.unsafeFlags(["-Wall", "-Wextra", "-Werror"])]),

    // What the thread sanitizer watches. Of few modules: each is compiled once more for it.
    .executableTarget(
      name: "thread-stress", dependencies: ["Reference"], path: "Tests/Threads",
      swiftSettings: house),

    // How a driver begins. The same in C is beside it, and no target: Tests/ABI/run compiles it.
    .executableTarget(
      name: "nvme-memory",
      dependencies: ["GenPool", "DeviceMemory", "PCIDevices", "DeviceSources", "NVMe"],
      path: "Examples", exclude: ["lease.c", "nvme-memory.c"], swiftSettings: house),

    // The README's programs, word for word: compiled as its readers do, without the house's settings.
    .executableTarget(
      name: "readme-library",
      dependencies: ["GenPool", "DeviceMemory", "PCIDevices", "DeviceSources"],
      path: "Tests/Readme/library"),
    .executableTarget(
      name: "readme-client", dependencies: ["GenPool", "DeviceMemory", "GenPoolClient"],
      path: "Tests/Readme/client"),
    .executableTarget(
      name: "readme-events", dependencies: ["PCIDevices", "DeviceEvents"],
      path: "Tests/Readme/events"),

    // One test target a module; EndToEnd drives the built executables.
    .testTarget(
      name: "GenPoolTests", dependencies: ["GenPool", "CGenPoolInline", "Reference"],
      swiftSettings: house),
    .testTarget(
      name: "GoldenTraceTests", dependencies: ["genpool-bench", "GenPool"],
      path: "Tests/Traces", exclude: ["golden"], swiftSettings: house),
    .testTarget(
      name: "StrictJSONTests", dependencies: ["StrictJSON"], swiftSettings: house),
    .testTarget(
      name: "OptionTextTests", dependencies: ["OptionText"], swiftSettings: house),
    .target(name: "CTestMemory", path: "Tests/CTestMemory"),
    .target(
      name: "LinuxFixtures", dependencies: ["CTestMemory", "LinuxSystem", system],
      path: "Tests/LinuxFixtures", swiftSettings: house),
    .testTarget(
      name: "LinuxSystemTests", dependencies: ["LinuxSystem", "LinuxFixtures", system],
      swiftSettings: house),
    .testTarget(
      name: "DeviceMemoryTests",
      dependencies: [
        "DeviceMemory", "LinuxSystem", "LinuxFixtures", "GenPool", "Reference", system,
      ],
      swiftSettings: house),
    .target(
      name: "DeviceFixtures", dependencies: ["DeviceEmulation", "PCIDevices", system],
      path: "Tests/DeviceFixtures", swiftSettings: house),
    .testTarget(name: "PCINamesTests", dependencies: ["PCINames"], swiftSettings: house),
    .testTarget(
      name: "PCIDevicesTests",
      dependencies: [
        "PCIDevices", "DeviceEmulation", "DeviceFixtures", "LinuxSystem", "GenPool", "Reference",
        system,
      ],
      swiftSettings: house),
    .testTarget(
      name: "NVMeTests",
      dependencies: [
        "NVMe", "DeviceDMA", "DeviceSources", "DeviceEmulation", "DeviceFixtures", "DeviceMemory",
        "LinuxSystem", "PCIDevices", "GenPool", system,
      ],
      swiftSettings: house),
    .testTarget(
      name: "DeviceOpenerTests",
      dependencies: [
        "DeviceOpener", "NVMe", "DeviceSources", "DeviceEmulation", "DeviceFixtures",
        "DeviceMemory", "DeviceDMA", "PCIDevices", "GenPool", "LinuxSystem", system,
      ],
      swiftSettings: house),
    .testTarget(
      name: "DeviceDMATests",
      dependencies: [
        "DeviceDMA", "DeviceSources", "DeviceFixtures", "DeviceMemory", "LinuxSystem", "PCIDevices",
        "GenPool", system,
      ],
      swiftSettings: house),
    .testTarget(
      name: "DriverBindingTests",
      dependencies: [
        "DriverBinding", "DeviceSources", "DeviceEmulation", "DeviceFixtures", "DeviceMemory",
        "LinuxSystem", "PCIDevices", "GenPool", system,
      ],
      swiftSettings: house),
    .testTarget(
      name: "DeviceSourcesTests",
      dependencies: [
        "DeviceSources", "DeviceEmulation", "DeviceFixtures", "PCIDevices", "DeviceMemory",
        "LinuxSystem", "GenPool", "Reference", system,
      ],
      swiftSettings: house),
    // Finds umockdev at run time, if at all: all tests are one executable, which must not need it.
    .target(name: "CUevents", path: "Tests/CUevents", linkerSettings: [.linkedLibrary("dl")]),
    .testTarget(
      name: "DeviceEventsTests",
      dependencies: [
        "DeviceEvents", "CUevents", "DeviceEmulation", "DeviceFixtures", "PCIDevices",
        "LinuxSystem", "GenPool", "Reference", system,
      ],
      swiftSettings: house),
    .testTarget(
      name: "BrokerProtocolTests",
      dependencies: ["BrokerProtocol", "GenPool", "Reference", system],
      swiftSettings: house),
    // A process of its own with a connection of its own, which Swift cannot make.
    .target(name: "CTestProcess", path: "Tests/CTestProcess"),
    // Without a device and without a socket.
    .testTarget(
      name: "BrokerLeasesTests",
      dependencies: ["BrokerLeases", "BrokerProtocol", "GenPool", "Reference"],
      swiftSettings: house),
    .testTarget(
      name: "BrokerTests",
      dependencies: [
        "Broker", "BrokerLeases", "BrokerProtocol", "GenPoolClient", "DeviceMemory", "LinuxSystem",
        "PCIDevices",
        "GenPool", "LinuxFixtures", "CTestProcess", "Reference", "genpool-bench", logging, system,
      ],
      swiftSettings: house),
    .testTarget(
      name: "GenPoolClientTests",
      dependencies: [
        "GenPoolClient", "BrokerProtocol", "DeviceMemory", "LinuxSystem", "LinuxFixtures",
        "GenPool", system,
      ],
      swiftSettings: house),
    .testTarget(
      name: "genpooldTests",
      dependencies: [
        "genpoold", "Broker", "BrokerLeases", "BrokerProtocol", "DeviceMemory", "LinuxSystem",
        "GenPool", "PCIDevices", "DeviceFixtures", logging,
      ],
      swiftSettings: house),
    .testTarget(
      name: "genpoolctlTests",
      dependencies: [
        "genpoolctl", "BrokerProtocol", "DeviceEmulation", "DeviceFixtures", "DeviceMemory",
        "PCIDevices", "NVMe", "LinuxSystem", "GenPool", "TestSupport", argumentParser, system,
      ],
      swiftSettings: house),
    .testTarget(
      name: "genpool-nvmeTests", dependencies: ["genpool-nvme", system], swiftSettings: house),
    // Processes of tests, which end in time and leave none behind.
    .target(
      name: "TestSupport", path: "Tests/Support/TestSupport", swiftSettings: house),
    .testTarget(
      name: "EndToEndTests",
      dependencies: [
        "genpoold", "genpoolctl", "genpool-bench", "attacker", "readme-library", "readme-client",
        "readme-events", "GenPoolClient",
        "BrokerProtocol", "DeviceMemory", "LinuxSystem", "GenPool", "TestSupport",
      ],
      path: "Tests/EndToEnd",
      exclude: [
        "demo", "emulated.py", "hostile.py", "hostile_calls.py", "hostile_floods.py",
        "hostile_honest.py", "hostile_peer.py",
      ],
      swiftSettings: house),
  ]
)

// The fuzz targets take a runtime of their own and flags for all modules, so they are there only when
// Tests/Fuzz/run asks for them. In this package, because they test what is `package` as well.
if Context.environment["GENPOOL_FUZZ"] != nil {
  // No executable can be imported by another: of the daemon only what reads and writes text is built,
  // as a library.
  package.products.removeAll { $0.name == "genpoold" }
  package.targets.removeAll { ["genpoold", "genpooldTests", "EndToEndTests"].contains($0.name) }
  package.targets += [
    .target(
      name: "genpoold",
      dependencies: [
        "StrictJSON", "GenPool", "LinuxSystem", "DeviceMemory", "PCIDevices", "BrokerProtocol",
        "BrokerLeases", "Broker", logging,
        system,
      ], sources: ["Configuration", "Log"], swiftSettings: house),
    .systemLibrary(name: "CLibFuzzer", path: "Tests/Fuzz/CLibFuzzer"),
    .executableTarget(
      name: "fuzz",
      dependencies: [
        "CLibFuzzer", "GenPool", "PCIDevices", "DeviceDMA", "NVMe", "DeviceEmulation",
        "BrokerProtocol", "Broker", "BrokerLeases", "StrictJSON", "genpoold", logging,
      ],
      path: "Tests/Fuzz", exclude: ["CLibFuzzer", "Corpus", "Dictionaries", "run"],
      swiftSettings: house),
  ]
}
