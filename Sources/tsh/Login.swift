import ArgumentParser
import ControlAPI
import ControlClient
import Foundation
import PKI

struct Login: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Log in and store a short-lived certificate, or switch to a login that is still valid.")

  @Option(help: "Minutes the login shall last.") var ttl: Int?
  @Option(help: "Name of the authentication connector; this cluster knows 'local'. Default TELEPORT_AUTH.")
  var auth: String?
  @Option(name: .shortAndLong, help: "Write the login to this identity file instead of storing it.") var out: String?
  @Option(help: "Format of the identity file: 'file'.") var format = IdentityFormat.file
  @Flag(help: "Replace the identity file if it is there.") var overwrite = false
  @OptionGroup var secrets: SecretOptions
  @OptionGroup var common: CommonOptions

  /// Key, certificate and CA in one PEM file is the one form there is.
  enum IdentityFormat: String, ExpressibleByArgument { case file }

  func run() async throws {
    try await runTool {
      try checkConnector()
      guard common.identity == nil else {
        throw ToolError("an identity file is a login already", hint: "leave out -i and TELEPORT_IDENTITY_FILE")
      }
      let store = ProfileStore()
      let known = try store.find(proxy: common.proxy)
      guard let proxy = common.proxy ?? known?.proxy else {
        throw ToolError("no proxy given", hint: "use --proxy=HOST:PORT")
      }
      // A login that is still good is only made the one in use, as long as nothing asks for a fresh one.
      if let known, known.validUntil > Date(), common.user == nil || common.user == known.user, out == nil, ttl == nil,
        secrets.passwordFile == nil
      {
        try common.check(cluster: known.cluster)
        try store.use(known)
        return print(Status.text(known, isCurrent: true))
      }
      guard let user = common.user ?? known?.user else { throw ToolError("no user given", hint: "use --user=NAME") }
      common.warnIfInsecure()
      let address = try ProxyAddress(proxy)
      let outcome = try await Authentication(address: address, user: user, ttl: ttl, insecure: common.insecure)
        .logIn(secrets)
      try common.check(cluster: outcome.profile.cluster)
      if let out { return try write(outcome, to: out) }
      try store.save(outcome.identity, hostCAPEM: outcome.hostCAPEM, for: outcome.profile)
      try store.save(outcome.profile)
      print(Status.text(outcome.profile, isCurrent: true))
      try await DatabaseAccess.renewAll(
        Credentials(stored: store, proxy: proxy, user: user), insecure: common.insecure)
    }
  }

  private func checkConnector() throws {
    let connector = auth ?? ProcessInfo.processInfo.environment["TELEPORT_AUTH"]
    guard let connector, !["", "local"].contains(connector) else { return }
    throw ToolError(
      "there is no authentication connector '\(connector)'", hint: "users of this cluster are local: use --auth=local")
  }

  private func write(_ outcome: Authentication.Outcome, to path: String) throws {
    try IdentityFile(identity: outcome.identity, hostCAPEM: outcome.hostCAPEM).write(to: path, overwrite: overwrite)
    let until = outcome.profile.validUntil.ISO8601Format()
    print("The login of \(Terminal.safe(outcome.profile.user)) has been written to \(path), valid until \(until).")
    print("Use it with: tsh -i, tctl -i; for example\n\n  tsh db ls -i \(path) --proxy=\(outcome.profile.proxy)\n")
  }
}

struct Logout: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Remove stored certificates and keys: all, or those of one proxy.")

  @OptionGroup var common: CommonOptions

  func run() async throws {
    try await runTool {
      let store = ProfileStore()
      let services = PostgresServiceFile()
      guard let proxy = common.proxy else {
        // A damaged profile must not be in the way of removing it.
        if let profiles = try? store.all() { try services.remove(DatabaseAccess.serviceNames(profiles, store)) }
        try store.removeAll()
        return print("Logged out of all proxies.")
      }
      guard let profile = try store.find(proxy: proxy), common.user == nil || common.user == profile.user else {
        throw ToolError("not logged in to \(proxy)", hint: "see 'tsh status'")
      }
      try services.remove(DatabaseAccess.serviceNames([profile], store))
      try store.remove(profile)
      print("Logged out of \(Terminal.safe(profile.proxy)).")
    }
  }
}
