import AccessControl
import ControlAPI
import Foundation
import Secrets
import StateStore

/// What became of the second half of a login.
enum SecondFactorVerdict {
  case passed, refused
  /// The cluster demands a second factor and the user has never set one up.
  case notEnrolled
}

extension AuthServer {
  static let modeName = "second_factor"
  static let originName = "second_factor_origin"

  // MARK: The cluster's setting

  /// Takes over what teleport.yaml says; `nil` gives up what an earlier file said.
  public func configureSecondFactor(_ mode: SecondFactorMode?) throws {
    try state.database.write { database in
      if let mode {
        try Self.storePreference(mode, origin: "config-file", in: database)
      } else if try Self.preference(in: database).origin == "config-file" {
        try Self.forgetPreference(in: database)
      }
    }
  }

  private static func forgetPreference(in database: Database) throws {
    try database.execute(sql: "DELETE FROM setting WHERE name IN (?, ?)", arguments: [modeName, originName])
  }

  func authPreference() throws -> AuthPreference {
    let (mode, origin) = try state.database.read { try Self.preference(in: $0) }
    return AuthPreference(secondFactor: mode, origin: origin)
  }

  /// - Returns: without `replaced`, since there always is one.
  func putAuthPreference(_ request: ResourceRequest<AuthPreference>, by actor: String) throws -> ResourceResponse {
    try request.validate()
    try state.database.write { database in
      let (mode, origin) = try Self.preference(in: database)
      switch request.condition {
      case .absent:
        guard origin != "config-file" else {
          throw AuthError.exists(
            "second_factor is set in teleport.yaml, under auth_service.authentication",
            hint: "change it there, or overrule it until the next start with 'tctl create --force'")
        }
      case .any: break
      case .unchanged: _ = try request.check(exists: true) { AuthPreference(secondFactor: mode, origin: origin) }
      }
      // What overrules the file goes with the file's own setting at the next start.
      try Self.storePreference(
        request.resource.spec.secondFactor, origin: origin == "config-file" ? origin : "dynamic", in: database)
    }
    emit("auth_preference.update", "TCAUTH001I", name: AuthPreference.name, by: actor)
    return ResourceResponse(name: AuthPreference.name, replaced: true)
  }

  /// Back to the default; what the configuration file says stays.
  func resetAuthPreference(by actor: String) throws {
    try state.database.write { database in
      guard try Self.preference(in: database).origin != "config-file" else {
        throw AuthError.invalid("second_factor is set in teleport.yaml", hint: "change it there")
      }
      try Self.forgetPreference(in: database)
    }
    emit("auth_preference.update", "TCAUTH001I", name: AuthPreference.name, by: actor)
  }

  var secondFactorMode: SecondFactorMode {
    get throws { try state.database.read { try Self.preference(in: $0).mode } }
  }

  private static func preference(in database: Database) throws -> (mode: SecondFactorMode, origin: String) {
    func value(_ name: String) throws -> String? {
      try String.fetchOne(database, sql: "SELECT value FROM setting WHERE name = ?", arguments: [name])
    }
    guard let text = try value(modeName) else { return (.optional, "defaults") }
    guard let mode = SecondFactorMode(rawValue: text) else {
      throw AuthError.internal("the stored second_factor setting is damaged; set it in teleport.yaml")
    }
    return (mode, try value(originName) ?? "dynamic")
  }

  private static func storePreference(_ mode: SecondFactorMode, origin: String, in database: Database) throws {
    for (name, value) in [(modeName, mode.rawValue), (originName, origin)] {
      try database.execute(
        sql: "INSERT INTO setting VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        arguments: [name, value])
    }
  }

  // MARK: Checking a code

  /// Compares with when a user has no secret, so that it takes as long.
  private static let decoy = TOTP.makeSecret()

  /// Judges the code of a login.
  ///
  /// - Parameter spend: the password was right. Only then is an accepted code used up, in the transaction that accepts
  ///   it: of two logins with one code, one is refused. Otherwise the work is done for its duration alone.
  func checkSecondFactor(of user: String, code: String?, spend: Bool) throws -> SecondFactorVerdict {
    let code = Secret(utf8: code ?? "")
    return try state.database.write { database in
      let mode = try Self.preference(in: database).mode
      guard mode != .off else { return .passed }
      let row = try Row.fetchOne(
        database, sql: "SELECT secret, last_step FROM second_factor WHERE username = ?", arguments: [user])
      let secret = try row.map { try sealed.openSecret(try $0["secret"], for: Self.owner(user)) } ?? Self.decoy
      let step = TOTP.match(code, secret: secret, after: try row?["last_step"] ?? 0)
      guard row != nil else { return mode.isRequired ? .notEnrolled : .passed }
      guard spend, let step else { return .refused }
      try database.execute(
        sql: "UPDATE second_factor SET last_step = ? WHERE username = ?", arguments: [step, user])
      return .passed
    }
  }

  private static func owner(_ user: String) -> String { "user:\(user)" }

  // MARK: Setting one up

  /// What the page behind a sign-up link needs to show. The link's secret for the app is drawn at the first look.
  func inviteDetails(_ link: String) throws -> InviteDetails {
    let user = try invitedUser(link)
    return try state.database.write { database in
      let mode = try Self.preference(in: database).mode
      let hash = OneTimeSecret.hash(link)
      let expires = try Double.fetchOne(
        database, sql: "SELECT expires FROM invite WHERE hash = ?", arguments: [hash])
      let secret = mode == .off ? nil : try inviteSecret(hash, in: database)
      return InviteDetails(
        user: user, clusterName: clusterName, expires: Date(timeIntervalSince1970: expires ?? 0), secondFactor: mode,
        otpURI: secret.map { TOTP.uri($0, user: user, cluster: clusterName) }, otpSecret: secret.map(TOTP.base32))
    }
  }

  /// Gives `user` the second factor that the link offered, if `otp` proves that an app has it.
  ///
  /// - Returns: whether there is one now. Called in the transaction that spends the link, before the link is gone.
  func enrol(_ user: String, link: String, otp: Secret?, in database: Database) throws -> Bool {
    let mode = try Self.preference(in: database).mode
    try database.execute(sql: "DELETE FROM second_factor WHERE username = ?", arguments: [user])
    guard mode != .off, otp != nil || mode.isRequired else { return false }
    guard let otp, otp.count > 0 else {
      throw AuthError.invalid("a code of your authenticator app is needed", hint: "the cluster demands a second factor")
    }
    let secret = try inviteSecret(OneTimeSecret.hash(link), in: database)
    guard let step = TOTP.match(otp, secret: secret, after: 0) else {
      throw AuthError.invalid(
        "the code does not fit the QR code", hint: "scan it anew, and check that this device's clock is right")
    }
    // The code that proved it is used up, too.
    try database.execute(
      sql: "INSERT INTO second_factor VALUES (?, ?, ?)",
      arguments: [user, try sealed.seal(secret, for: Self.owner(user)), step])
    return true
  }

  private func inviteSecret(_ hash: String, in database: Database) throws -> Secret {
    let owner = "invite:\(hash)"
    if let stored = try Data.fetchOne(
      database, sql: "SELECT secret FROM invite WHERE hash = ? AND secret IS NOT NULL", arguments: [hash])
    {
      return try sealed.openSecret(stored, for: owner)
    }
    let secret = TOTP.makeSecret()
    try database.execute(
      sql: "UPDATE invite SET secret = ? WHERE hash = ?", arguments: [try sealed.seal(secret, for: owner), hash])
    return secret
  }
}
