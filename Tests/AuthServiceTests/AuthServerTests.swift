import AccessControl
import Audit
import ControlAPI
import Foundation
import PKI
import Secrets
import Synchronization
import Testing
import TextForms

@testable import AuthService

private let password = "correct horse battery staple"

private func secret(_ invite: Invite) -> String { String(invite.url.split(separator: "/").last ?? "") }

/// As long as `secret` and different in its first character only.
private func altered(_ secret: String) -> String { (secret.hasPrefix("0") ? "1" : "0") + secret.dropFirst() }

private func login(_ server: AuthServer, _ name: String, _ password: String, ttl: Int? = nil) async throws
  -> LoginResponse
{
  let request = try KeyPair.generate().signingRequestPEM(commonName: "someone else")
  return try await server.login(
    LoginRequest(username: name, password: password, signingRequestPEM: request, ttlSeconds: ttl), from: "127.0.0.1")
}

private func der(_ pem: String) -> [UInt8] {
  Array(Data(base64Encoded: pem.split(separator: "\n").filter { !$0.hasPrefix("-----") }.joined()) ?? Data())
}

@Suite(.serialized) struct AuthServerTests {
  @Test func loginGivesACertificateWhoseFieldsTheServerDecides() async throws {
    try await withServer { server, _ in
      let invite = try server.addUser(
        UserListing(name: "alice", roles: ["access"], traits: ["db_users": ["u"]]), by: "test")
      _ = try server.acceptInvite(secret(invite), password: Secret(utf8: password))
      let response = try await login(server, "alice", password, ttl: 3600)
      let identity = try UserIdentity(certificateDER: der(response.certificatePEM))
      #expect(identity.username == "alice")
      #expect(identity.roles == ["access"])
      #expect(identity.traits == ["db_users": ["u"]])
      #expect(identity.route == nil)
      #expect(abs(identity.notValidAfter.timeIntervalSinceNow - 3600) < 60)
      await #expect(throws: AuthError.unauthenticated("wrong user name, password or one-time code")) {
        try await login(server, "alice", "wrong password")
      }
      await #expect(throws: AuthError.unauthenticated("wrong user name, password or one-time code")) {
        try await login(server, "nobody", password)
      }
    }
  }

  /// Time tells nothing about who exists: every answer costs one derivation.
  @Test func unknownUsersCostWhatWrongPasswordsDo() async throws {
    try await withServer { server, _ in
      let invite = try server.addUser(UserListing(name: "alice", roles: [], traits: [:]), by: "test")
      _ = try server.acceptInvite(secret(invite), password: Secret(utf8: password))
      _ = try server.addUser(UserListing(name: "invited", roles: [], traits: [:]), by: "test")
      for name in ["alice", "nobody", "invited"] {
        let count = Mutex(0)
        await PasswordHash.$onDerivation.withValue({ count.withLock { $0 += 1 } }) {
          await #expect(throws: AuthError.unauthenticated("wrong user name, password or one-time code")) {
            try await login(server, name, "wrong password")
          }
        }
        #expect(count.withLock { $0 } == 1, "\(name)")
      }
    }
  }

  @Test func whatIsNoNameIsRefusedAndRecordedInShort() async throws {
    try await withServer { server, directory in
      let long = String(repeating: "\u{e4}", count: 300_000)
      for name in [long, "", "a b", "../x", "@local-admin"] {
        let count = Mutex(0)
        await PasswordHash.$onDerivation.withValue({ count.withLock { $0 += 1 } }) {
          await #expect(throws: AuthError.unauthenticated("wrong user name, password or one-time code")) {
            try await login(server, name, password)
          }
        }
        #expect(count.withLock { $0 } == 0)
      }
      server.audit.flush()
      let lines = try String(contentsOfFile: directory + "/events.log", encoding: .utf8).split(separator: "\n")
      #expect(lines.count == 5)
      let record = try JSONSerialization.jsonObject(with: Data(try #require(lines.first).utf8)) as? [String: Any]
      let user = try #require(record?["user"] as? String)
      #expect(user.utf8.count <= AuditEvent.maximumText)
      #expect(user.hasPrefix("\u{e4}\u{e4}") && user.hasSuffix("… (cut, 600000 bytes)"))
      #expect(!user.contains("\u{fffd}"))
    }
  }

  @Test func tenWrongPasswordsCloseTheAccountForAWhile() async throws {
    let gate = PasswordGate()
    let now = Date()
    for _ in 0..<10 {
      try await gate.enter("a", from: "192.0.2.1", now: now)
      await gate.leave("a", from: "192.0.2.1", succeeded: false, now: now)
    }
    await #expect(throws: AuthError.self) { try await gate.enter("a", from: "192.0.2.2", now: now) }
    try await gate.enter("b", from: "192.0.2.1", now: now)
    try await gate.enter("a", from: "192.0.2.2", now: now + 301)
  }

  /// Who goes on guessing waits twice as long each time, an hour at most; a right password ends that.
  @Test func waitsGrow() async throws {
    let gate = PasswordGate()
    var now = Date()
    func guess(_ count: Int) async throws {
      for _ in 0..<count {
        try await gate.enter("a", from: "192.0.2.3", now: now)
        await gate.leave("a", from: "192.0.2.3", succeeded: false, now: now)
      }
    }
    for wait in [300.0, 600, 1200, 2400, 3600, 3600] {
      try await guess(10)
      await #expect(throws: AuthError.self) { try await gate.enter("a", from: "192.0.2.2", now: now + wait - 1) }
      now += wait
    }
    try await gate.enter("a", from: "192.0.2.2", now: now)
    await gate.leave("a", from: "192.0.2.2", succeeded: true, now: now)
    try await guess(10)
    await #expect(throws: AuthError.self) { try await gate.enter("a", from: "192.0.2.2", now: now + 299) }
    try await gate.enter("a", from: "192.0.2.2", now: now + 300)
  }

  /// One password tried on many users is as good a guess as many on one.
  @Test func aSourceThatTriesManyUsersWaits() async throws {
    let gate = PasswordGate(exempt: try [#require(AddressBlock("10.0.0.0/8"))])
    let now = Date()
    for source in ["192.0.2.1", "10.1.2.3"] {
      for number in 0..<50 {
        try await gate.enter("user-\(source)-\(number)", from: source, now: now)
        await gate.leave("user-\(source)-\(number)", from: source, succeeded: false, now: now)
      }
    }
    let error = await #expect(throws: AuthError.self) { try await gate.enter("another", from: "192.0.2.1", now: now) }
    #expect(error?.description.contains("from this address; try again in 5 minutes") == true)
    try await gate.enter("another", from: "192.0.2.2", now: now)
    try await gate.enter("another", from: "10.1.2.3", now: now)
  }

  @Test func invitesAndTheirBounds() async throws {
    try await withServer { server, _ in
      let invite = try server.addUser(UserListing(name: "bob", roles: [], traits: [:]), by: "test")
      #expect(throws: AuthError.self) { try server.acceptInvite(secret(invite), password: Secret(utf8: "short")) }
      #expect(throws: AuthError.self) {
        try server.acceptInvite(altered(secret(invite)), password: Secret(utf8: password))
      }
      // Of many at once, one wins.
      let winners = await withTaskGroup(of: Bool.self) { group in
        for _ in 0..<8 {
          group.addTask { (try? server.acceptInvite(secret(invite), password: Secret(utf8: password))) != nil }
        }
        return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      #expect(winners == 1)
    }
  }

  @Test func joinTokens() async throws {
    try await withServer { server, _ in
      let token = try #require(try server.addToken(TokenRequest(roles: ["db"], ttlSeconds: 600), by: "test").token)
      for wrong in [nil, "", "x", token + "x", altered(token), String(repeating: "a", count: 1 << 20)] {
        #expect(throws: AuthError.self) { try server.join(service: "db", token: wrong) }
      }
      #expect(throws: AuthError.self) { try server.join(service: "proxy", token: token) }
      try server.join(service: "db", token: token)
      // Joined once, the token is needed no more.
      try server.join(service: "db", token: nil)
      #expect(
        try TokenResource.list(of: server, withSecrets: false).allSatisfy { $0.name.utf8.count == TokenName.idLength })
      #expect(throws: AuthError.self) {
        try server.addToken(TokenRequest(roles: ["root"], ttlSeconds: 600), by: "test")
      }
      #expect(throws: AuthError.self) { try server.addToken(TokenRequest(roles: ["db"], ttlSeconds: 0), by: "test") }
    }
  }

  @Test func effectiveRolesAreThoseOfTheCertificateThatTheUserStillHas() async throws {
    try await withServer { server, _ in
      _ = try server.addUser(UserListing(name: "carol", roles: ["editor", "access"], traits: [:]), by: "test")
      let identity = UserIdentity(username: "carol", roles: ["editor"], clusterName: "test")
      #expect(try server.checker(for: identity).allows("create", on: "role"))
      _ = try server.updateUser("carol", UserUpdate(roles: ["access"]), by: "test")
      #expect(!(try server.checker(for: identity).allows("create", on: "role")))
      try server.removeUser("carol", by: "test")
      #expect(throws: AuthError.self) { try server.checker(for: identity) }
      #expect(throws: AuthError.self) {
        try server.checker(for: UserIdentity(username: "carol", roles: ["editor"], clusterName: "other"))
      }
    }
  }

  @Test func rolesAreReplacedOnlyByForceAndKeptWhileHeld() async throws {
    try await withServer { server, _ in
      let role = Role(name: "r", spec: .init())
      #expect(try !server.putRole(ResourceRequest(resource: role, condition: .absent), by: "test").replaced)
      #expect(throws: AuthError.self) {
        try server.putRole(ResourceRequest(resource: role, condition: .absent), by: "test")
      }
      #expect(try server.putRole(ResourceRequest(resource: role, condition: .any), by: "test").replaced)
      _ = try server.addUser(UserListing(name: "dan", roles: ["r"], traits: [:]), by: "test")
      #expect(throws: AuthError.self) { try server.removeRole("r", by: "test") }
      #expect(throws: AuthError.self) {
        try server.addUser(UserListing(name: "eve", roles: ["nothing"], traits: [:]), by: "test")
      }
      #expect(throws: AuthError.self) {
        try server.addUser(UserListing(name: "../eve", roles: [], traits: [:]), by: "test")
      }
    }
  }

  @Test func storedRoleThatCannotBeReadIsTheConcernOfItsHolders() async throws {
    try await withServer { server, _ in
      for name in ["good", "bad"] {
        _ = try server.putRole(
          ResourceRequest(resource: Role(name: name, spec: .init()), condition: .absent), by: "test")
        _ = try server.addUser(UserListing(name: "has-\(name)", roles: [name], traits: [:]), by: "test")
      }
      try server.state.database.write { database in
        try database.execute(
          sql: "UPDATE role SET json = replace(json, '\"db_users\":[]', '\"db_users\":[\"^($\"]') WHERE name = 'bad'")
      }
      func identity(_ role: String) -> UserIdentity {
        UserIdentity(username: "has-\(role)", roles: [role], clusterName: "test")
      }
      _ = try server.checker(for: identity("good"))
      #expect { try server.checker(for: identity("bad")) } throws: { error in
        "\(error)".contains("role 'bad'") && (error as? AuthError)?.isForCaller == false
      }
      _ = try server.putRole(ResourceRequest(resource: Role(name: "bad", spec: .init()), condition: .any), by: "test")
      _ = try server.checker(for: identity("bad"))
    }
  }

  @Test func stateSurvivesAndAuthoritiesStay() async throws {
    let directory = NSTemporaryDirectory() + "auth-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: directory) }
    try PrivateFile.makeDirectory(directory)
    let pins: [String]
    do {
      let server = try openServer(directory)
      pins = try server.pins()
      _ = try server.addUser(UserListing(name: "fay", roles: [], traits: [:]), by: "test")
      #expect(throws: AuthError.self) { try openServer(directory) }
    }
    let server = try openServer(directory)
    #expect(try server.pins() == pins)
    #expect(try server.users().map(\.name) == ["fay"])
  }

  @Test func damagedOrReadableStateIsRefused() throws {
    for damage in 0..<3 {
      let directory = NSTemporaryDirectory() + "auth-\(UUID().uuidString)"
      defer { try? FileManager.default.removeItem(atPath: directory) }
      try PrivateFile.makeDirectory(directory)
      do { _ = try openServer(directory) }
      let path = directory + "/state.sqlite"
      switch damage {
      case 0: chmod(path, 0o644)
      case 1:
        try Data("this is no database, and long enough to be read as one".utf8).write(to: URL(fileURLWithPath: path))
      default:
        for suffix in ["-wal", "-shm"] where FileManager.default.fileExists(atPath: path + suffix) {
          try FileManager.default.removeItem(atPath: path + suffix)
        }
        let file = try #require(FileHandle(forUpdatingAtPath: path))
        try file.write(contentsOf: Data(repeating: 0xff, count: 64))
      }
      if damage > 0 { chmod(path, 0o600) }
      #expect(throws: (any Error).self) { try openServer(directory) }
    }
  }
}
