import ControlAPI
import Foundation
import PKI
import Secrets

/// A host's certificate with its key, ready to use.
public struct HostCredentials: Sendable {
  public let certificatePEM: String
  public let keyPEM: Secret
  public let hostID: String
  /// When it was issued: its validity begins earlier, for clocks that lag.
  public let issued: Date
  public let notValidAfter: Date
  /// The CA that issued it; `nil` if that is not known.
  let issuerPEM: String?

  public init(_ certificate: HostCertificate, keyPEM: Secret) {
    certificatePEM = certificate.certificatePEM
    self.keyPEM = keyPEM
    hostID = certificate.hostID
    issued = certificate.issued
    notValidAfter = certificate.validUntil
    issuerPEM = certificate.authorities.hostPEMs.first
  }
}

/// What a host keeps of its membership: DATA_DIR/host, for its owner alone.
///
/// The key is written before the certificate: a certificate that is there always has its key.
struct HostStore {
  private let directory: String

  init(dataDirectory: String) throws {
    directory = Self.directory(in: dataDirectory)
    try PrivateFile.makeDirectory(directory)
  }

  static func directory(in dataDirectory: String) -> String { dataDirectory + "/host" }

  /// What an earlier run stored; `nil` if the host has not joined yet.
  func load() throws -> (certificate: HostCertificate, keyPEM: Secret)? {
    guard FileManager.default.fileExists(atPath: path("certificate.json")) else { return nil }
    let text = try PrivateFile.read(path("certificate.json"))
    let certificate: HostCertificate
    do {
      certificate = try text.withBytes { try JSONDecoder.api.decode(HostCertificate.self, from: Data($0)) }
    } catch {
      throw PKIError("\(path("certificate.json")) is damaged; remove \(directory) and join again with a new token")
    }
    // A renewal that was cut short has left the next key beside the one in use.
    return (certificate, try PrivateFile.read(path("\(certificate.keyFile).key")))
  }

  func save(_ certificate: HostCertificate, keyPEM: Secret) throws {
    try PrivateFile.write(keyPEM, to: path("\(certificate.keyFile).key"))
    let text = String(decoding: try JSONEncoder.api.encode(certificate), as: UTF8.self)
    try PrivateFile.write(text, to: path("certificate.json"))
    for file in try FileManager.default.contentsOfDirectory(atPath: directory)
    where file.hasSuffix(".key") && file != "\(certificate.keyFile).key" {
      try FileManager.default.removeItem(atPath: path(file))
    }
  }

  func loadSnapshot() throws -> ClusterSnapshot? {
    guard FileManager.default.fileExists(atPath: path("snapshot.json")) else { return nil }
    return try PrivateFile.read(path("snapshot.json"), limit: Self.largestSnapshot).withBytes {
      try JSONDecoder.api.decode(ClusterSnapshot.self, from: Data($0))
    }
  }

  func save(_ snapshot: ClusterSnapshot) throws {
    let text = String(decoding: try JSONEncoder.api.encode(snapshot), as: UTF8.self)
    try PrivateFile.write(text, to: path("snapshot.json"))
  }

  /// Roles and users of a large cluster.
  static let largestSnapshot = 64 << 20

  private func path(_ name: String) -> String { "\(directory)/\(name)" }
}

extension HostCertificate {
  /// Names the key's file by the certificate it belongs to.
  fileprivate var keyFile: String { "\(hostID)-\(Int64(validUntil.timeIntervalSince1970))" }
}
