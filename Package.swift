// swift-tools-version: 6.2
import PackageDescription

// Folder names are the architecture: docs/architecture.md walks one login and one message through them.
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let coreMetrics = Target.Dependency.product(name: "CoreMetrics", package: "swift-metrics")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let cryptoExtras = Target.Dependency.product(name: "CryptoExtras", package: "swift-crypto")
let x509 = Target.Dependency.product(name: "X509", package: "swift-certificates")
let asn1 = Target.Dependency.product(name: "SwiftASN1", package: "swift-asn1")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let nioTLS = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let httpClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")

// The other linkers warn of what the statically linked Foundation calls; lld comes with the toolchain.
let linker: [LinkerSetting] = [.unsafeFlags(["-use-ld=lld"])]

// The checks of exclusive access that Swift makes at run time cost a call for each property of a class that is touched.
// Debug builds, which the tests run on, have them; the data path's release builds do without.
let dataPath: [SwiftSetting] = [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]

let package = Package(
  name: "sallyport",
  products: [
    .executable(name: "teleport", targets: ["teleport"]),
    .executable(name: "tctl", targets: ["tctl"]),
    .executable(name: "tsh", targets: ["tsh"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", exact: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", exact: "1.16.2"),
    .package(url: "https://github.com/apple/swift-metrics", exact: "2.13.0"),
    .package(url: "https://github.com/apple/swift-crypto", exact: "4.5.2"),
    .package(url: "https://github.com/apple/swift-certificates", exact: "1.21.1"),
    .package(url: "https://github.com/apple/swift-asn1", exact: "1.7.4"),
    .package(url: "https://github.com/jpsim/Yams", exact: "6.2.2"),
    .package(url: "https://github.com/groue/GRDB.swift", exact: "7.10.0"),
    .package(url: "https://github.com/hummingbird-project/hummingbird", exact: "2.28.1"),
    .package(url: "https://github.com/swift-server/async-http-client", exact: "1.37.0"),
    .package(url: "https://github.com/apple/swift-nio-ssl", exact: "2.37.6"),
  ],
  targets: [
    // Data path: no NIO type, no Foundation on the hot path.
    .target(
      name: "CPlatform",
      linkerSettings: [.linkedLibrary("ssl"), .linkedLibrary("crypto"), .linkedLibrary(":liburing.a")]),
    .target(name: "Secrets"),
    .target(name: "TextForms"),
    .target(name: "ChildProcess", dependencies: ["CPlatform"]),
    .target(name: "Reactor", dependencies: ["CPlatform"], swiftSettings: dataPath),
    .target(name: "TLS", dependencies: ["CPlatform", "Secrets"], swiftSettings: dataPath),
    .target(
      name: "PostgresWire", dependencies: ["Secrets", "TextForms", crypto, cryptoExtras], swiftSettings: dataPath),
    .target(name: "TunnelWire", dependencies: ["PostgresWire"]),
    .target(name: "TLSTransport", dependencies: ["Reactor", "TLS"], swiftSettings: dataPath),
    .target(
      name: "Gateway",
      dependencies: [
        "CPlatform", "Reactor", "TLS", "TLSTransport", "PostgresWire", "TunnelWire", "Secrets", "TextForms", logging,
      ], swiftSettings: dataPath),

    .target(name: "LocalProxy", dependencies: ["Reactor", "TLS", "TLSTransport", "PostgresWire"]),

    // Decisions and credentials: Dispatch pool, never a reactor thread.
    .target(name: "AccessControl"),
    .target(
      name: "AWS",
      dependencies: ["ChildProcess", "PKI", "Secrets", "TextForms", crypto, logging, metrics, httpClient, nioTLS]),
    .target(name: "AWSBootstrap", dependencies: ["AWS", "ControlAPI"]),
    .target(name: "Discovery", dependencies: ["AWS", "AccessControl", "ConfigurationFile", "ControlAPI", logging]),
    .target(
      name: "DatabaseService",
      dependencies: [
        "AccessControl", "AWS", "Audit", "CPlatform", "ChildProcess", "ConfigurationFile", "ControlAPI", "Gateway",
        "PKI",
        "PostgresWire", "Reactor", "Secrets", "TLS", "TextForms", logging,
      ], swiftSettings: dataPath),

    .target(
      name: "Doctor", dependencies: ["CPlatform", "PostgresWire", "Reactor", "Secrets", "TLS", "TextForms", x509]),
    .target(name: "AWSDoctor", dependencies: ["AWS", "AWSBootstrap", "Doctor", "TextForms"]),

    // Small things without dependencies, for the control plane and the tools.
    .target(name: "QRCode"),
    .target(name: "ResourceFilter"),

    // Control plane.
    .target(name: "PKI", dependencies: ["Secrets", "TextForms", crypto, x509, asn1]),
    .target(
      name: "Audit", dependencies: ["TextForms", crypto, logging, metrics], swiftSettings: dataPath),
    .target(name: "ConfigurationFile", dependencies: ["AccessControl", "ControlAPI", "TextForms", yams]),
    .target(name: "ControlAPI", dependencies: ["AccessControl"]),
    .target(
      name: "ControlClient",
      dependencies: [
        "ControlAPI", "PKI", "Secrets", "TextForms", argumentParser, httpClient, nioTLS, yams,
      ]),
    .target(
      name: "ClusterMember",
      dependencies: ["AccessControl", "Audit", "ControlAPI", "ControlClient", "PKI", "Secrets", logging]),
    .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
    .target(name: "StateStore", dependencies: ["CLibPQ", "TextForms", grdb, logging]),
    .target(
      name: "AuthService",
      dependencies: [
        "AWS", "AccessControl", "Audit", "ControlAPI", "PKI", "QRCode", "Secrets", "StateStore", "TextForms",
        cryptoExtras, hummingbird, logging,
      ]),

    // Running as a service.
    .target(name: "Diagnostics", dependencies: ["Gateway", coreMetrics, hummingbird, logging]),
    .target(name: "Systemd"),

    // The guide's three programs.
    .executableTarget(
      name: "teleport",
      dependencies: [
        "AuthService", "Audit", "AWS", "AWSBootstrap", "AWSDoctor", "CPlatform", "ClusterMember", "ConfigurationFile",
        "ControlAPI",
        "ControlClient",
        "DatabaseService", "Diagnostics", "Discovery", "Doctor", "Gateway",
        "PKI", "Reactor", "StateStore", "Systemd", "TLS", "TextForms", argumentParser, coreMetrics, logging, yams,
      ], linkerSettings: linker),
    .executableTarget(
      name: "tctl",
      dependencies: [
        "AccessControl", "ConfigurationFile", "ControlAPI", "ControlClient", "PKI", "TextForms", argumentParser, yams,
      ], linkerSettings: linker),
    .executableTarget(
      name: "tsh",
      dependencies: [
        "AccessControl", "ControlAPI", "ControlClient", "Doctor", "LocalProxy", "PKI", "PostgresWire", "QRCode",
        "Reactor", "ResourceFilter",
        "Secrets", "TLS", "TextForms", argumentParser, yams,
      ], linkerSettings: linker),

    // Not shipped: what perf/record-cost.sh runs.
    .executableTarget(name: "RecordCost", dependencies: ["Secrets", "TLS"], path: "perf/RecordCost"),

    .target(name: "TestSupport", path: "Tests/TestSupport"),
    // Whole sessions in virtual time: docs/decisions/060-simulation.md.
    .target(
      name: "Simulation",
      dependencies: [
        "Gateway", "PostgresWire", "Reactor", "Secrets", "TLS", "TLSTransport", "TestSupport", asn1, crypto, logging,
        x509,
      ], path: "Tests/Simulation"),
    .executableTarget(
      name: "simulate", dependencies: ["Simulation", argumentParser], path: "Tests/Simulate", linkerSettings: linker),
    .testTarget(name: "SimulationTests", dependencies: ["Reactor", "Simulation"]),
    .testTarget(name: "ReactorTests", dependencies: ["Reactor", "CPlatform", "Simulation", "TestSupport"]),
    .testTarget(name: "TLSTests", dependencies: ["CPlatform", "PKI", "Secrets", "TLS", "TLSTransport", "TestSupport"]),
    .testTarget(name: "GatewayTests", dependencies: ["Gateway", "PKI", "PostgresWire", "Reactor", "Secrets", "TLS"]),
    .testTarget(name: "PostgresWireTests", dependencies: ["PostgresWire", "Secrets", "TestSupport"]),
    .testTarget(name: "TunnelWireTests", dependencies: ["PostgresWire", "TestSupport", "TunnelWire"]),
    .testTarget(name: "TextFormsTests", dependencies: ["TextForms"]),
    .testTarget(name: "AccessControlTests", dependencies: ["AccessControl", "TestSupport"]),
    .testTarget(
      name: "DiagnosticsTests",
      dependencies: ["Diagnostics", "Gateway", "PKI", "PostgresWire", "Reactor", "TLS", coreMetrics]),
    .testTarget(name: "SystemdTests", dependencies: ["Systemd"]),
    .testTarget(name: "QRCodeTests", dependencies: ["QRCode"], exclude: ["decode.py"]),
    .testTarget(name: "ResourceFilterTests", dependencies: ["ResourceFilter"]),
    .testTarget(name: "ControlClientTests", dependencies: ["ControlClient", "PKI", "Secrets", yams]),
    .testTarget(name: "ChildProcessTests", dependencies: ["ChildProcess"]),
    .testTarget(name: "AWSTests", dependencies: ["AWS", "Secrets"]),
    .testTarget(name: "AWSBootstrapTests", dependencies: ["AWS", "AWSBootstrap"]),
    .testTarget(name: "AWSDoctorTests", dependencies: ["AWS", "AWSDoctor"]),
    .testTarget(name: "DatabaseServiceTests", dependencies: ["DatabaseService"]),
    .testTarget(
      name: "DiscoveryTests",
      dependencies: ["AWS", "AccessControl", "ConfigurationFile", "ControlAPI", "Discovery", logging]),
    .testTarget(name: "AuditTests", dependencies: ["Audit", "TestSupport"]),
    .testTarget(
      name: "QueryAuditTests", dependencies: ["Audit", "DatabaseService", "Gateway", "PostgresWire", "TestSupport"]),
    .testTarget(name: "StateStoreTests", dependencies: ["StateStore"]),
    .testTarget(name: "ConfigurationFileTests", dependencies: ["AccessControl", "ConfigurationFile", "ControlAPI"]),
    .testTarget(
      name: "AuthServiceTests",
      dependencies: [
        "AccessControl", "AuthService", "Audit", "ControlAPI", "PKI", "Secrets", "TextForms",
      ]),
  ],
  swiftLanguageModes: [.v6]
)

// Tests/Fuzz holds one function a parser. The normal tests replay its corpus through them; `make fuzz` builds the modules
// again, with libFuzzer's instrumentation, elsewhere (docs/decisions/062-fuzzing.md).
let fuzzed: [Target.Dependency] = [
  "AccessControl", "AWS", "Audit", "ConfigurationFile", "ControlAPI", "DatabaseService", "Gateway", "PKI",
  "PostgresWire", "ResourceFilter", "Secrets", "TLS", "TextForms", "TunnelWire", yams,
]
if Context.environment["SALLYPORT_FUZZ"] == nil {
  package.targets.append(
    .testTarget(
      name: "FuzzTests", dependencies: fuzzed + ["TestSupport"], path: "Tests/Fuzz",
      exclude: ["Corpus", "Driver", "run.py"],
      sources: ["Targets", "Replay"]))
} else {
  package.targets.removeAll { $0.type == .test }
  for target in package.targets where target.type == .regular && target.name != "CPlatform" {
    target.swiftSettings = [.unsafeFlags(["-sanitize=fuzzer", "-enable-testing"])]
  }
  package.targets.append(
    .executableTarget(
      name: "fuzz", dependencies: fuzzed, path: "Tests/Fuzz", exclude: ["Corpus", "Replay", "run.py"],
      sources: ["Targets", "Driver"], swiftSettings: [.unsafeFlags(["-sanitize=fuzzer", "-parse-as-library"])],
      linkerSettings: linker + [.unsafeFlags(["-sanitize=fuzzer"])]))
}
