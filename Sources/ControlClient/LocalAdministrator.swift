import Foundation
import PKI

/// What `teleport start` leaves in DATA_DIR/admin for the tools on the Auth Service's host.
public struct LocalAdministrator: Sendable {
  private let identity: ClientIdentity
  private let caPEM: String

  /// - Returns: `nil` if there is none here, or none that the caller may read.
  /// - Throws: `PKIError` for files that others may read too.
  public init?(dataDirectory: String) throws {
    let folder = dataDirectory + "/admin"
    guard FileManager.default.isReadableFile(atPath: folder + "/admin.key") else { return nil }
    identity = ClientIdentity(
      certificatePEM: try PrivateFile.read(folder + "/admin.crt").revealText() ?? "",
      keyPEM: try PrivateFile.read(folder + "/admin.key"))
    caPEM = try PrivateFile.read(folder + "/ca.pem").revealText() ?? ""
  }

  /// A client that may do everything, for the cluster at `address`.
  public func makeClient(address: String, insecure: Bool = false) throws -> APIClient {
    try APIClient(address: address, identity: identity, trustedCAPEMs: [caPEM], insecure: insecure)
  }
}
