import AWS
import AccessControl
import Audit
import ControlAPI
import Foundation
import PKI
import Secrets
import StateStore

/// Joining by an AWS identity: tokens that name accounts and ARNs, challenges, and the proof that STS confirms.
extension AuthServer {
  private static let maximumRules = 64
  /// Seconds from a challenge to its proof.
  private static let challengeLifetime: TimeInterval = 60
  private static let maximumChallenges = 10_000

  // MARK: Tokens

  /// Makes a token of method `iam`, or changes one.
  func putIAMToken(_ request: ResourceRequest<TokenResource>, by actor: String) throws -> ResourceResponse {
    let token = request.resource
    guard Set(token.spec.roles).isSubset(of: ["db", "proxy", "discovery"]) else {
      throw AuthError.invalid("the type of a token of method iam must be of db, proxy and discovery")
    }
    let rules = token.spec.allow ?? []
    guard (1...Self.maximumRules).contains(rules.count) else {
      throw AuthError.invalid("allow must have 1 to \(Self.maximumRules) rules")
    }
    for rule in rules { try rule.check() }
    guard token.expires.map({ $0 > Date() }) ?? true else {
      throw AuthError.invalid("the token would be over already", hint: "choose a later end")
    }
    let json = String(decoding: try JSONEncoder.api.encode(request.stored), as: UTF8.self)
    let replaced = try state.database.write { database in
      let known = try String.fetchOne(
        database, sql: "SELECT json FROM iam_token WHERE name = ?", arguments: [token.name])
      let replaced = try request.check(exists: known != nil) { try known.map(Self.token) }
      try database.execute(
        sql: "INSERT INTO iam_token (name, json) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET json = excluded.json",
        arguments: [token.name, json])
      return replaced
    }
    emit("join_token.create", "TJT00I", name: token.name, by: actor)
    return ResourceResponse(name: token.name, replaced: replaced)
  }

  func iamTokens() throws -> [TokenResource] {
    let texts = try state.database.read {
      try String.fetchAll($0, sql: "SELECT json FROM iam_token ORDER BY name")
    }
    return try texts.map { try Self.token($0).withRevision() }
  }

  /// - Returns: `false` if there is none of that name.
  func removeIAMToken(_ name: String, by actor: String) throws -> Bool {
    let isRemoved = try state.database.write { database in
      try database.execute(sql: "DELETE FROM iam_token WHERE name = ?", arguments: [name])
      return database.changesCount > 0
    }
    if isRemoved { emit("join_token.delete", "TJT01I", name: name, by: actor) }
    return isRemoved
  }

  private static func token(_ json: String) throws -> TokenResource {
    try JSONDecoder.api.decode(TokenResource.self, from: Data(json.utf8))
  }

  // MARK: Joining

  /// Draws a challenge that one proof may use, soon.
  func challenge(for address: String) throws -> IAMChallenge {
    try joinGate.enter(address)
    let challenge = OneTimeSecret.make()
    let now = Date().timeIntervalSince1970
    try state.database.write { database in
      try database.execute(sql: "DELETE FROM join_challenge WHERE expires <= ?", arguments: [now])
      let count = try Int.fetchOne(database, sql: "SELECT COUNT(*) FROM join_challenge") ?? 0
      guard count < Self.maximumChallenges else {
        throw AuthError.tooMany("too many hosts are joining; try again in a minute")
      }
      try database.execute(
        sql: "INSERT INTO join_challenge (hash, expires) VALUES (?, ?)",
        arguments: [OneTimeSecret.hash(challenge), now + Self.challengeLifetime])
    }
    return IAMChallenge(challenge: challenge)
  }

  /// Makes a host a member whose AWS identity a token names.
  ///
  /// - Parameter environment: where STS is asked.
  func join(
    _ request: IAMJoinRequest, from address: String, in environment: AWSEnvironment
  ) async throws -> HostCertificate {
    try await recordingJoin(of: request.join, from: address) { event in
      event.extra += [("method", .text("iam")), ("token_name", .text(request.join.token))]
      try joinGate.enter(address)
      let services = try Self.services(of: request.join)
      do {
        try await check(request, services, environment, &event)
      } catch {
        if case AuthError.unauthenticated = error { joinGate.refused(address) }
        throw error
      }
      return try makeMember(request.join, services)
    }
  }

  private func check(
    _ request: IAMJoinRequest, _ services: [ServiceRole], _ environment: AWSEnvironment, _ event: inout AuditEvent
  ) async throws {
    // Spent before anything else, whatever comes of it.
    guard try spend(request.challenge) else {
      throw AuthError.unauthenticated("the challenge is not known, was used already or is older than a minute")
    }
    let json = try state.database.read {
      try String.fetchOne($0, sql: "SELECT json FROM iam_token WHERE name = ?", arguments: [request.join.token])
    }
    // One answer for tokens that are not there and for identities that they do not name: a guess learns nothing.
    let refused = AuthError.unauthenticated(
      "no token of method iam of this name lets this AWS identity join for \(request.join.services.joined(separator: ","))"
    )
    guard let token = try json.map(Self.token), token.expires.map({ $0 > Date() }) ?? true,
      Set(services.map(\.rawValue)).isSubset(of: token.spec.roles)
    else { throw refused }
    let proof = CallerIdentityProof(
      region: request.proof.region, date: request.proof.date, authorization: request.proof.authorization,
      securityToken: request.proof.securityToken.map { Secret(utf8: $0) })
    let identity: CallerIdentity
    do {
      identity = try await joinGate.checkingProof {
        try await proof.callerIdentity(challenge: request.challenge, in: environment)
      }
    } catch let error as AWSError where error.code == "InvalidParameter" || (400..<500).contains(error.status) {
      throw AuthError.unauthenticated("AWS does not confirm the host's identity: \(error)")
    } catch let error as AWSError {
      throw AuthError.tooMany("AWS could not be asked who the host is: \(error); try again")
    }
    event.extra += [("aws_account", .text(identity.account)), ("aws_arn", .text(identity.arn))]
    guard (token.spec.allow ?? []).contains(where: { $0.fits(identity) }) else { throw refused }
  }

  private func spend(_ challenge: String) throws -> Bool {
    try state.database.write { database in
      try database.execute(
        sql: "DELETE FROM join_challenge WHERE hash = ? AND expires > ?",
        arguments: [OneTimeSecret.hash(challenge), Date().timeIntervalSince1970])
      return database.changesCount > 0
    }
  }
}
