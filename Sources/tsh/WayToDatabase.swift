import ControlAPI
import ControlClient
import Doctor
import Foundation
import Reactor
import TLS
import TextForms

/// Walks a user's way to a database, as far as a user may see it: login, proxy, roles, certificate, session.
struct WayToDatabase {
  let route: RouteOptions
  let common: CommonOptions

  /// Links behind the proxy's port, in their order.
  private static let behindProxy: [Finding.Link] = [.roles, .databaseCertificate] + ProbedPeer.proxy.sessionLinks
  private static let network: [Finding.Link] = [.nameResolution, .connection, .tls]

  func examine(_ name: String) async throws -> Report {
    var (user, database) = (route.dbUser, route.dbName)
    var findings: [Finding] = []
    func report(_ last: [Finding]) -> Report {
      Report(database: name, databaseUser: user, databaseName: database, findings: findings + last)
    }
    guard let login = storedLogin(&findings) else {
      return report(
        Finding.skipped([.loginCertificate] + Self.network + [.proxy] + Self.behindProxy, after: .profile))
    }
    let isGood = examine(certificateOf: login, &findings)
    let address = try ProxyAddress(login.profile.proxy)
    findings += try probe(address, login).examine(login: nil, missing: .databaseCertificate)
      .filter { Self.network.contains($0.link) }
    if let obstacle = findings.first(where: { $0.outcome == .broken && Self.network.contains($0.link) }) {
      return report(Finding.skipped([.proxy] + Self.behindProxy, after: obstacle.link))
    }
    findings.append(await ping(address, login))
    guard isGood else { return report(Finding.skipped(Self.behindProxy, after: .loginCertificate)) }
    let client = try login.makeClient(insecure: common.insecure)
    return try await client.closing { client in
      guard let listing = await roles(name, login.profile, client, &user, &database, &findings) else {
        return report(Finding.skipped([.databaseCertificate] + ProbedPeer.proxy.sessionLinks, after: .roles))
      }
      let issued: DatabaseAccess.Issued
      do {
        issued = try await DatabaseAccess.issue(listing, user: user, database: database, login.profile, client)
      } catch let error as ToolError {
        let refusal = refused(.databaseCertificate, error, name, login.profile.user)
        return report([refusal] + Finding.skipped(ProbedPeer.proxy.sessionLinks, after: .databaseCertificate))
      }
      findings.append(
        .works(
          .databaseCertificate,
          "for '\(issued.user ?? "")' at '\(issued.database ?? "")', until \(issued.validUntil.formatted(.iso8601))"))
      return report(try logIn(address, login, issued))
    }
  }

  // MARK: Login

  private func storedLogin(_ findings: inout [Finding]) -> Credentials? {
    do {
      if let path = common.identity {
        let login = try Credentials(identityFile: path, proxy: common.proxy)
        findings.append(.works(.profile, "identity file \(path) of \(login.profile.user), for \(login.profile.proxy)"))
        return login
      }
      let store = ProfileStore()
      let profile = try store.chosen(proxy: common.proxy, user: common.user)
      try common.check(cluster: profile.cluster)
      let login = try Credentials(of: profile, in: store)
      let roles = profile.roles.joined(separator: ", ")
      findings.append(
        .works(.profile, "\(profile.user) at \(profile.proxy), cluster '\(profile.cluster)', roles \(roles)"))
      return login
    } catch {
      findings.append(broken(.profile, error))
      return nil
    }
  }

  /// - Returns: whether it can be shown to anybody.
  private func examine(certificateOf login: Credentials, _ findings: inout [Finding]) -> Bool {
    guard let facts = CertificateFacts(pem: login.identity.certificatePEM) else {
      findings.append(.broken(.loginCertificate, "it cannot be read", mend: [login.profile.loginCommand]))
      return false
    }
    let end = facts.notAfter.formatted(.iso8601)
    guard facts.notAfter > Date() else {
      findings.append(.broken(.loginCertificate, "it ended at \(end)", mend: [login.profile.loginCommand]))
      return false
    }
    findings.append(.works(.loginCertificate, "issued by \(facts.issuer), good until \(end)"))
    return true
  }

  // MARK: Proxy

  private func probe(
    _ address: ProxyAddress, _ login: Credentials, presenting issued: DatabaseAccess.Issued? = nil
  ) throws -> PostgresProbe {
    let tls: ClientTLSContext
    do {
      // As libpq does with what 'tsh db env' prints: the cluster's own CA and no other.
      tls = try ClientTLSContext(
        mode: common.insecure ? .insecure : .verifyFull, trustedCAPEM: issued?.hostCAPEM ?? login.hostCAPEM,
        clientCertificate: issued.map { ($0.identity.certificatePEM, $0.identity.keyPEM) })
    } catch {
      throw ToolError("a stored certificate or key is damaged: \(error)", hint: login.profile.loginCommand)
    }
    return PostgresProbe(.proxy, host: address.host, port: address.port, serverName: address.host, tls: tls) {
      try AddressLookup.addresses(host: address.host, port: address.port)
    }
  }

  /// Its version, and whether it is the login's cluster.
  private func ping(_ address: ProxyAddress, _ login: Credentials) async -> Finding {
    do {
      let client = try APIClient(
        address: "\(address)", trustedCAPEMs: [login.hostCAPEM], insecure: common.insecure)
      let ping: Ping = try await client.closing { try await $0.get("/v1/webapi/ping") }
      guard ping.clusterName == login.profile.cluster else {
        return .broken(
          .proxy, "it is of cluster '\(ping.clusterName)', the login of '\(login.profile.cluster)'",
          mend: [login.profile.loginCommand])
      }
      let own = ping.serverVersion == sallyportVersion ? "" : "; this tsh is \(sallyportVersion)"
      return .works(.proxy, "version \(ping.serverVersion) of cluster '\(ping.clusterName)'\(own)")
    } catch {
      return broken(.proxy, error)
    }
  }

  // MARK: Roles

  /// What the roles let the user choose, and what is chosen.
  private func roles(
    _ name: String, _ profile: Profile, _ client: APIClient, _ user: inout String?, _ database: inout String?,
    _ findings: inout [Finding]
  ) async -> DatabaseListing? {
    do {
      let listing = try await DatabaseAccess.listing(name, client)
      let allowed =
        "db_users [\(listing.allowedUsers.joined(separator: ", "))], db_names [\(listing.allowedNames.joined(separator: ", "))]"
      do {
        (user, database) = try DatabaseAccess.choose(listing, user: user, database: database, profile)
      } catch let error as ToolError {
        findings.append(
          .broken(
            .roles, "they allow \(allowed), of which one has to be chosen: \(error.message)",
            mend: error.hint.map { [$0] } ?? []))
        return nil
      }
      findings.append(.works(.roles, "they allow \(allowed); chosen: '\(user ?? "")' and '\(database ?? "")'"))
      return listing
    } catch {
      findings.append(refused(.roles, error, name, profile.user))
      return nil
    }
  }

  /// What the server refuses, in its own words, and what to ask an administrator for.
  private func refused(_ link: Finding.Link, _ error: any Error, _ name: String, _ user: String) -> Finding {
    let finding = broken(link, error)
    // 0: the answer does not have this database.
    guard let refusal = error as? ToolError, [403, 404, 0].contains(refusal.status) else { return finding }
    return .broken(
      link, finding.detail,
      mend: finding.mend + [
        "Roles that were given to you since the login count after the next 'tsh login'. An administrator sees which",
        "statement of which role decides:", "",
        "  tctl db explain --user=\(ShellWord.quoted(user)) --db=\(ShellWord.quoted(name)) --db-user=... --db-name=...",
      ])
  }

  private func broken(_ link: Finding.Link, _ error: any Error) -> Finding {
    let problem = error as? ToolError
    return .broken(link, problem?.message ?? "\(error)", mend: problem?.hint.map { [$0] } ?? [])
  }

  // MARK: Session

  private func logIn(_ address: ProxyAddress, _ login: Credentials, _ issued: DatabaseAccess.Issued) throws -> [Finding]
  {
    let findings = try probe(address, login, presenting: issued).examine(
      login: .init(user: issued.user ?? "", database: issued.database ?? "", password: nil))
    // The network was found good a moment ago: it is told of only if it is not any more.
    return findings.filter { !Self.network.contains($0.link) || $0.outcome == .broken }
  }
}
