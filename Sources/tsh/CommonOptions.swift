import ArgumentParser
import ControlClient
import Foundation

/// What every command takes.
struct CommonOptions: ParsableArguments {
  @Option(help: "HOST[:PORT] of the proxy; default TELEPORT_PROXY, then the login in use.") var proxy: String?
  @Option(help: "User name; default TELEPORT_USER.") var user: String?
  @Option(help: "Name of the cluster; default TELEPORT_CLUSTER.") var cluster: String?
  @Option(
    name: .shortAndLong, help: "Identity file to act with, from 'tsh login --out'; default TELEPORT_IDENTITY_FILE.")
  var identity: String?
  @Flag(help: "Do not verify the proxy's certificate; for test clusters only.") var insecure = false
  @Flag(name: .shortAndLong, help: "Show on stderr what the tool does; also TELEPORT_DEBUG=1.") var debug = false

  mutating func validate() throws {
    func variable(_ name: String) -> String? {
      ProcessInfo.processInfo.environment[name].flatMap { $0.isEmpty ? nil : $0 }
    }
    proxy = proxy ?? variable("TELEPORT_PROXY")
    user = user ?? variable("TELEPORT_USER")
    cluster = cluster ?? variable("TELEPORT_CLUSTER")
    identity = identity ?? variable("TELEPORT_IDENTITY_FILE")
    if debug || ["1", "true", "yes"].contains(variable("TELEPORT_DEBUG")?.lowercased()) { DebugLog.turnOn() }
  }

  /// Whom this command acts as.
  func credentials() throws -> Credentials {
    let credentials =
      try identity.map { try Credentials(identityFile: $0, proxy: proxy) }
      ?? Credentials(stored: ProfileStore(), proxy: proxy, user: user)
    try check(cluster: credentials.profile.cluster)
    DebugLog.write("acting as \(credentials.profile.user) at \(credentials.profile.proxy)")
    return credentials
  }

  /// Those of the same user at the same proxy, read anew: another terminal may have renewed them.
  func credentials(at address: ProxyAddress, user: String) throws -> Credentials {
    try identity.map { try Credentials(identityFile: $0, proxy: "\(address)") }
      ?? Credentials(stored: ProfileStore(), proxy: "\(address)", user: user)
  }

  /// The profile whose files a command reads, without a call to the cluster.
  func profile() throws -> Profile { try credentials().profile }

  func check(cluster name: String) throws {
    guard cluster == nil || cluster == name else {
      throw ToolError(
        "this login is for cluster '\(name)', not '\(cluster ?? "")'", hint: "see 'tsh clusters' and 'tsh status'")
    }
  }

  func warnIfInsecure() {
    if insecure { FileHandle.standardError.write(Data("WARNING: the proxy's certificate is not verified\n".utf8)) }
  }
}
