import ArgumentParser

/// `teleport discovery ...`.
struct DiscoveryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "discovery", abstract: "Set up the discovery service.",
    // A process has one identity in AWS: what it needs is worked out for all services of its file.
    subcommands: [DatabaseBootstrap.self])
}
