import Crypto
import Foundation
import GRDB
import PKI
import Secrets

/// Encrypts secrets that the state has to keep readable (AES-256-GCM), with a key that is not in the state.
///
/// A copy of the database alone gives nothing away. The key lies beside it in `second_factor.key`, mode 0600; Auth
/// Services that share one state need the same file. docs/decisions/021 tells why.
struct SealedSecrets: Sendable {
  private let key: SymmetricKey

  private static let checkName = "second_factor_key_check"
  private static let checkText = Data("sallyport".utf8)

  /// Opens the key file, or makes it for a state that has none yet.
  init(dataDirectory: String, state: ClusterState) throws {
    let path = dataDirectory + "/second_factor.key"
    let check = try state.database.read {
      try String.fetchOne($0, sql: "SELECT value FROM setting WHERE name = ?", arguments: [Self.checkName])
    }
    if check == nil, !FileManager.default.fileExists(atPath: path) {
      let fresh = SymmetricKey(size: .bits256).withUnsafeBytes { Data($0).base64EncodedString() }
      try PrivateFile.write(fresh + "\n", to: path)
    }
    let mend = "restore it from a backup, or copy it from the cluster's other Auth Service"
    guard FileManager.default.fileExists(atPath: path) else {
      throw AuthError.internal("\(path) is missing, so no second factor can be checked; \(mend)")
    }
    let text = try PrivateFile.read(path).revealText() ?? ""
    guard let bytes = Data(base64Encoded: text.trimmingCharacters(in: .whitespacesAndNewlines)), bytes.count == 32
    else {
      throw AuthError.internal("\(path) is damaged; \(mend)")
    }
    key = SymmetricKey(data: bytes)
    if let check {
      guard let sealed = Data(base64Encoded: check), (try? open(sealed, for: Self.checkName)) == Self.checkText else {
        throw AuthError.internal("\(path) is not the key that this cluster's state was sealed with; \(mend)")
      }
    } else {
      let sealed = try seal(Self.checkText, for: Self.checkName).base64EncodedString()
      try state.database.write {
        try $0.execute(sql: "INSERT INTO setting VALUES (?, ?)", arguments: [Self.checkName, sealed])
      }
    }
  }

  /// Encrypts `secret` for `owner`: it can be opened as no other's.
  func seal(_ secret: Secret, for owner: String) throws -> Data {
    try secret.withBytes { try seal(Data($0), for: owner) }
  }

  func openSecret(_ sealed: Data, for owner: String) throws -> Secret { Secret(try open(sealed, for: owner)) }

  private func seal(_ bytes: Data, for owner: String) throws -> Data {
    guard let sealed = try AES.GCM.seal(bytes, using: key, authenticating: Data(owner.utf8)).combined else {
      throw AuthError.internal("a secret cannot be encrypted")
    }
    return sealed
  }

  private func open(_ sealed: Data, for owner: String) throws -> Data {
    do {
      return try AES.GCM.open(.init(combined: sealed), using: key, authenticating: Data(owner.utf8))
    } catch {
      throw AuthError.internal("a stored secret cannot be decrypted: the state is damaged")
    }
  }
}
