import AuthService
import ControlAPI
import Foundation
import PKI
import Synchronization

/// What lets `tctl` on the Auth Service's host act with full rights: DATA_DIR/admin.
final class AdministratorIdentity: Sendable {
  private let folder: String
  /// The authorities at the last writing.
  private let written = Mutex<AuthorityCertificates?>(nil)

  init(dataDirectory: String) { folder = dataDirectory + "/admin" }

  /// Writes a new certificate if the authorities are not those of the last one.
  func refresh(_ auth: AuthServer) throws {
    if try auth.authorityCertificates != written.withLock({ $0 }) { try write(auth) }
  }

  /// Writes a new certificate. The key stays: a `tctl` that starts meanwhile must not find two that do not fit.
  func write(_ auth: AuthServer) throws {
    let authorities = try auth.authorityCertificates
    let keyPath = folder + "/admin.key"
    let key: KeyPair
    if FileManager.default.fileExists(atPath: keyPath) {
      key = try KeyPair(pem: try PrivateFile.read(keyPath))
    } else {
      key = KeyPair.generate()
      try PrivateFile.write(key.pem, to: keyPath)
    }
    try PrivateFile.write(try auth.localAdministratorCertificate(for: key), to: folder + "/admin.crt")
    try PrivateFile.write(authorities.hostPEMs.joined(), to: folder + "/ca.pem")
    written.withLock { $0 = authorities }
  }
}
