import Crypto
import Foundation
import PKI
import Secrets
import StateStore

/// Encrypts secrets that the state has to keep readable (AES-256-GCM), with a key that is not in the state.
///
/// A copy of the database alone gives nothing away. The key lies beside it in `second_factor.key`, mode 0600; Auth
/// Services that share one state need the same file. docs/decisions/021 tells why.
struct SealedSecrets: Sendable {
  private let key: SymmetricKey

  private static let checkName = "second_factor_key_check"
  private static let checkText = Data("sallyport".utf8)

  /// Where the key of `dataDirectory` lies.
  static func path(in dataDirectory: String) -> String { dataDirectory + "/second_factor.key" }

  /// Opens the key file, or makes it for a state that has none yet.
  init(dataDirectory: String, state: ClusterState) throws {
    let path = Self.path(in: dataDirectory)
    // One transaction: of two Auth Services that start on a new state at once, the second finds the first one's mark.
    key = try state.database.write { database in
      let check = try String.fetchOne(
        database, sql: "SELECT value FROM setting WHERE name = ?", arguments: [Self.checkName])
      if check == nil, !FileManager.default.fileExists(atPath: path) {
        let fresh = SymmetricKey(size: .bits256).withUnsafeBytes { Data($0).base64EncodedString() }
        try PrivateFile.write(fresh + "\n", to: path)
      }
      let key = try Self.read(path)
      if let check {
        guard let sealed = Data(base64Encoded: check),
          (try? Self.open(sealed, with: key, for: Self.checkName)) == Self.checkText
        else {
          throw AuthError.internal("\(path) is not the key that this cluster's state was sealed with; \(Self.mend)")
        }
      } else {
        let sealed = try Self.seal(Self.checkText, with: key, for: Self.checkName).base64EncodedString()
        try database.execute(sql: "INSERT INTO setting VALUES (?, ?)", arguments: [Self.checkName, sealed])
      }
      return key
    }
  }

  private static let mend = "restore it from a backup, or copy it from the cluster's other Auth Service"

  private static func read(_ path: String) throws -> SymmetricKey {
    guard FileManager.default.fileExists(atPath: path) else {
      throw AuthError.internal("\(path) is missing, so what the state keeps sealed cannot be read; \(mend)")
    }
    let text = try PrivateFile.read(path).revealText() ?? ""
    guard let bytes = Data(base64Encoded: text.trimmingCharacters(in: .whitespacesAndNewlines)), bytes.count == 32
    else {
      throw AuthError.internal("\(path) is damaged; \(mend)")
    }
    return SymmetricKey(data: bytes)
  }

  // MARK: Keys of authorities

  /// The private key of an authority, as the state keeps it.
  func sealKey(of authority: CertificateAuthority) throws -> Data {
    try seal(authority.keyPEM, for: Self.owner(authority.kind))
  }

  /// Opens a stored key; those of states made by earlier versions lie there in PEM.
  func openKey(_ stored: Data, of kind: CertificateAuthority.Kind) throws -> Secret {
    stored.starts(with: Data("-----BEGIN".utf8)) ? Secret(stored) : try openSecret(stored, for: Self.owner(kind))
  }

  private static func owner(_ kind: CertificateAuthority.Kind) -> String { "authority:\(kind.rawValue)" }

  // MARK: Any secret

  /// Encrypts `secret` for `owner`: it can be opened as no other's.
  func seal(_ secret: Secret, for owner: String) throws -> Data {
    try secret.withBytes { try Self.seal(Data($0), with: key, for: owner) }
  }

  func openSecret(_ sealed: Data, for owner: String) throws -> Secret {
    Secret(try Self.open(sealed, with: key, for: owner))
  }

  private static func seal(_ bytes: Data, with key: SymmetricKey, for owner: String) throws -> Data {
    guard let sealed = try AES.GCM.seal(bytes, using: key, authenticating: Data(owner.utf8)).combined else {
      throw AuthError.internal("a secret cannot be encrypted")
    }
    return sealed
  }

  private static func open(_ sealed: Data, with key: SymmetricKey, for owner: String) throws -> Data {
    do {
      return try AES.GCM.open(.init(combined: sealed), using: key, authenticating: Data(owner.utf8))
    } catch {
      throw AuthError.internal("a stored secret cannot be decrypted: the state is damaged")
    }
  }
}
