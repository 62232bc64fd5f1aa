import AccessControl
import ConfigurationFile
import Foundation
import ResourceFilter
import TextForms

@testable import AWS

extension FuzzTarget {
  /// The conditions of listings: `--query`, and as other readings of the same text, labels and words.
  static let predicate = FuzzTarget(name: "predicate", maximumLength: 256) { bytes in
    guard let text = FuzzInput(bytes).restText else { return }
    let resource = FilteredResource(
      name: "dev", description: "first", protocol: "postgres", uri: "h:5439", labels: ["env": "dev", "team": "a"])
    if let predicate = try? ResourcePredicate(text) {
      let holds = predicate.matches(resource)
      try require(try ResourcePredicate("!(\(text))").matches(resource) != holds, "'\(text)' and its opposite agree")
    }
    if let selector = try? ResourceFilter.LabelSelector(text) { _ = selector.matches(resource.labels) }
    _ = resource.contains(searchWords(text))
  }

  /// teleport.yaml.
  static let configuration = FuzzTarget(name: "configuration", maximumLength: 600) { bytes in
    guard let text = FuzzInput(bytes).restText else { return }
    do {
      _ = try TeleportConfiguration(yaml: text, file: "f.yaml")
    } catch let error as ConfigurationError {
      try require(!error.description.contains("\n"), "a complaint of several lines: \(error)")
    } catch {
      throw FuzzFinding(description: "a complaint without its place: \(error)")
    }
  }

  /// ARNs, host names, addresses and session names.
  static let names = FuzzTarget(name: "names", maximumLength: 128) { bytes in
    guard let text = FuzzInput(bytes).restText else { return }
    if let role = try? RoleARN(text) {
      try require(role.description == text, "'\(text)' is written as \(role)")
      try require(try RoleARN(role.description) == role, "\(role) reads as another")
    }
    let spellings = RoleARN.spellings(ofDatabaseUser: text, account: "123456789012", region: "us-east-1")
    try require(
      spellings.first == text && Set(spellings).count == spellings.count, "spellings of '\(text)': \(spellings)")
    if let endpoint = RedshiftEndpoint(host: text) {
      try require(!endpoint.region.isEmpty && (endpoint.account ?? "123456789012").count == 12, "\(endpoint)")
    }
    let session = SessionName.make(text)
    try require(
      (2...64).contains(session.utf8.count)
        && session.utf8.allSatisfy { $0 < 0x80 && (isAlphanumeric($0) || "_+=,.@-".utf8.contains($0)) },
      "'\(session)' is no name of a role session")
    try require(SessionName.make(session) == session, "'\(session)' is renamed again")
    if let address = HostPort(text, defaultPort: 5439) {
      try require(HostPort(address.description) == address, "\(address) reads as another")
    }
    if let (host, port) = DatabaseConfiguration.split(text) { try require(!host.isEmpty && port > 0, "'\(text)'") }
    if let block = AddressBlock(text) {
      try require(AddressBlock(block.description) == block, "\(block) reads as another")
    }
    if let bytes = Hex.decode(text) { try require(Hex.encode(bytes) == text.lowercased(), "'\(text)' in hex") }
    _ = Role.isValidName(text)
    _ = try? CommandWords.split(text, of: "s")
    _ = try? ProxySettings(["HTTPS_PROXY": text, "NO_PROXY": text]).proxy(for: Addresses.url)
  }

  /// Durations of roles.
  static let duration = FuzzTarget(name: "duration", maximumLength: 64) { bytes in
    guard let text = FuzzInput(bytes).restText, let duration = GoDuration(text) else { return }
    try require((0...100 * 366 * 86_400).contains(duration.seconds), "'\(text)' has \(duration.seconds) s")
    try require(GoDuration(duration.description) == duration, "\(duration) reads as another")
  }
}

private enum Addresses {
  static let url = URL(string: "https://sts.us-east-1.amazonaws.com/") ?? URL(fileURLWithPath: "/")
}

private func isAlphanumeric(_ byte: UInt8) -> Bool {
  (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
}
