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
    .library(name: "DeviceMemory", targets: ["DeviceMemory"]),
    .library(name: "DeviceSources", targets: ["PCIDevices", "DeviceSources"]),
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

    // Memory in hand: map it, touch it, make it a chunk. Opens nothing.
    .target(name: "CLinux"),
    .target(name: "CDeviceMemory"),
    .target(
      name: "DeviceMemory", dependencies: ["GenPool", "CDeviceMemory", system],
      swiftSettings: house),

    // What is plugged in, and how a piece of it is opened.
    .target(
      name: "PCIDevices", dependencies: ["GenPool", "DeviceMemory", system], swiftSettings: house),
    .target(name: "CDeviceSources"),
    .target(
      name: "DeviceSources",
      dependencies: [
        "GenPool", "CLinux", "DeviceMemory", "PCIDevices", "CDeviceSources", system,
      ],
      swiftSettings: house),
    // A driver on genpool: an NVMe controller whose queues, lists and data lie where pools put them.
    .target(
      name: "NVMe", dependencies: ["GenPool", "DeviceMemory", "PCIDevices", "DeviceSources"],
      swiftSettings: house),
    .target(
      name: "DeviceEmulation", dependencies: ["GenPool", "DeviceMemory", "PCIDevices", system],
      swiftSettings: house),

    // libgenpool: the kernel's gen_pool API for C, its header the contract. Brings Swift's runtime along,
    // so nothing else may link the target.
    .target(name: "CGenPool"),
    .target(
      name: "GenPoolABI",
      dependencies: [
        "CGenPool", "GenPool", "DeviceMemory", "PCIDevices", "DeviceSources", system,
      ],
      exclude: ["genpool.map", "genpool.pc"], swiftSettings: house,
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
      dependencies: ["CUdev", "CDeviceSources", "DeviceMemory", "PCIDevices", system],
      swiftSettings: house),

    // The broker: bytes to messages, who holds what, and the client's side of it.
    .target(
      name: "BrokerProtocol", dependencies: ["GenPool", system],
      exclude: ["io.genpool.Broker1.varlink"],
      swiftSettings: house),
    .target(
      name: "Broker",
      dependencies: ["GenPool", "CLinux", "DeviceMemory", "BrokerProtocol", logging, system],
      swiftSettings: house),
    .target(
      name: "GenPoolClient",
      dependencies: ["GenPool", "CLinux", "DeviceMemory", "BrokerProtocol", system],
      swiftSettings: house),

    // Executables: parse, wire, run.
    .executableTarget(
      name: "genpoold",
      dependencies: [
        "GenPool", "CLinux", "DeviceMemory", "PCIDevices", "DeviceSources", "DeviceEvents",
        "PCINames",
        "BrokerProtocol", "Broker", argumentParser, logging, system,
      ],
      swiftSettings: house),
    .executableTarget(
      name: "genpoolctl",
      dependencies: [
        "GenPool", "CLinux", "DeviceMemory", "PCIDevices", "DeviceSources", "DeviceEmulation",
        "PCINames", "BrokerProtocol", "GenPoolClient", argumentParser, system,
      ],
      swiftSettings: house),
    // What the bench measures genpool against.
    .target(name: "CBaselines"),
    // What the bench and the tests compare its answers with: the plainest model, seeded numbers. No product.
    .target(name: "Reference", dependencies: ["GenPool"], swiftSettings: house),
    .executableTarget(
      name: "genpool-nvme",
      dependencies: [
        "GenPool", "DeviceMemory", "PCIDevices", "DeviceSources", "NVMe", argumentParser, system,
      ],
      exclude: ["README.md"], swiftSettings: house),
    .executableTarget(
      name: "genpool-bench",
      dependencies: [
        "GenPool", "Reference", "CBaselines", "BrokerProtocol", "GenPoolClient", argumentParser,
      ],
      exclude: ["Results"], swiftSettings: house),

    // What Tests/Machine runs in its guests: DMA, and whether it arrived.
    .executableTarget(
      name: "dma-proof",
      dependencies: [
        "GenPool", "DeviceMemory", "PCIDevices", "DeviceSources", "NVMe", "BrokerProtocol",
        "GenPoolClient", "Reference", argumentParser, system,
      ],
      path: "Tests/Machine/proof", swiftSettings: house),

    // How a driver begins. The same in C is beside it, and no target: Tests/ABI/run compiles it.
    .executableTarget(
      name: "nvme-memory",
      dependencies: ["GenPool", "DeviceMemory", "PCIDevices", "DeviceSources"],
      path: "Examples", exclude: ["nvme-memory.c"], swiftSettings: house),

    // The README's programs, word for word: compiled as its readers do, without the house's settings.
    .executableTarget(
      name: "readme-library",
      dependencies: ["GenPool", "DeviceMemory", "PCIDevices", "DeviceSources"],
      path: "Tests/Readme/library"),
    .executableTarget(
      name: "readme-client", dependencies: ["GenPool", "DeviceMemory", "GenPoolClient"],
      path: "Tests/Readme/client"),

    // One test target a module; EndToEnd drives the built executables.
    .testTarget(
      name: "GenPoolTests", dependencies: ["GenPool", "CGenPoolInline", "Reference"],
      swiftSettings: house),
    .testTarget(
      name: "GoldenTraceTests", dependencies: ["genpool-bench", "GenPool"],
      path: "Tests/Traces", exclude: ["golden"], swiftSettings: house),
    .testTarget(
      name: "DeviceMemoryTests", dependencies: ["DeviceMemory", "GenPool", "Reference", system],
      swiftSettings: house),
    .target(
      name: "DeviceFixtures", dependencies: ["DeviceEmulation", "PCIDevices", system],
      path: "Tests/DeviceFixtures", swiftSettings: house),
    .testTarget(name: "PCINamesTests", dependencies: ["PCINames"], swiftSettings: house),
    .testTarget(
      name: "PCIDevicesTests",
      dependencies: [
        "PCIDevices", "DeviceEmulation", "DeviceFixtures", "GenPool", "Reference", system,
      ],
      swiftSettings: house),
    .testTarget(
      name: "NVMeTests",
      dependencies: [
        "NVMe", "DeviceSources", "DeviceFixtures", "DeviceMemory", "PCIDevices", "GenPool", system,
      ],
      swiftSettings: house),
    .testTarget(
      name: "DeviceSourcesTests",
      dependencies: [
        "DeviceSources", "CDeviceSources", "DeviceEmulation", "DeviceFixtures", "PCIDevices",
        "DeviceMemory",
        "GenPool", "Reference", system,
      ],
      swiftSettings: house),
    // Finds umockdev at run time, if at all: all tests are one executable, which must not need it.
    .target(name: "CUevents", path: "Tests/CUevents", linkerSettings: [.linkedLibrary("dl")]),
    .testTarget(
      name: "DeviceEventsTests",
      dependencies: [
        "DeviceEvents", "CUevents", "DeviceEmulation", "DeviceFixtures", "PCIDevices",
        "DeviceMemory", "GenPool", "Reference", system,
      ],
      swiftSettings: house),
    .testTarget(
      name: "BrokerProtocolTests", dependencies: ["BrokerProtocol", "GenPool", "Reference"],
      swiftSettings: house),
    // A process of its own with a connection of its own, which Swift cannot make.
    .target(name: "CTestProcess", path: "Tests/CTestProcess"),
    .testTarget(
      name: "BrokerTests",
      dependencies: [
        "Broker", "BrokerProtocol", "GenPoolClient", "DeviceMemory", "GenPool", "CLinux",
        "CTestProcess", "Reference", "genpool-bench", logging, system,
      ],
      swiftSettings: house),
    .testTarget(
      name: "GenPoolClientTests",
      dependencies: [
        "GenPoolClient", "BrokerProtocol", "DeviceMemory", "GenPool", "CLinux", system,
      ],
      swiftSettings: house),
    .testTarget(
      name: "genpooldTests",
      dependencies: [
        "genpoold", "Broker", "BrokerProtocol", "DeviceMemory", "GenPool", "PCIDevices", logging,
      ],
      swiftSettings: house),
    .testTarget(
      name: "genpoolctlTests",
      dependencies: [
        "genpoolctl", "BrokerProtocol", "DeviceFixtures", "PCIDevices", "GenPool", system,
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
        "genpoold", "genpoolctl", "genpool-bench", "readme-library", "readme-client",
        "GenPoolClient",
        "BrokerProtocol", "DeviceMemory", "GenPool", "CLinux", "TestSupport",
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
        "GenPool", "CLinux", "DeviceMemory", "PCIDevices", "BrokerProtocol", "Broker", logging,
        system,
      ], sources: ["Configuration", "Log"], swiftSettings: house),
    .systemLibrary(name: "CLibFuzzer", path: "Tests/Fuzz/CLibFuzzer"),
    .executableTarget(
      name: "fuzz",
      dependencies: [
        "CLibFuzzer", "GenPool", "PCIDevices", "DeviceSources", "DeviceEmulation", "BrokerProtocol",
        "Broker", "genpoold", logging,
      ],
      path: "Tests/Fuzz", exclude: ["CLibFuzzer", "Corpus", "Dictionaries", "run"],
      swiftSettings: house),
  ]
}
