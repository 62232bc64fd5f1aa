import AWS
import AccessControl
import Audit
import ConfigurationFile
import ControlAPI
import Foundation
import Gateway
import Secrets
import TLS
import TextForms

/// A database to serve, with everything derived that can be derived at start.
public struct ServedDatabase: Sendable {
  /// Where it is described, as listings name it.
  public enum Origin: String, Sendable {
    case file = "config-file"
    case dynamic
    /// Found in AWS, by this service or by a Discovery Service.
    case cloud
  }

  /// What it was made of.
  let configuration: DatabaseConfiguration
  public let name: String
  public let description: String
  public let uri: String
  public internal(set) var labels: [String: String]
  let dynamicLabels: [DynamicLabel]
  public let origin: Origin
  let host: String
  let port: UInt16
  let serverName: String
  /// Without a client certificate.
  let tls: ClientTLSContext
  private let tlsMode: ClientTLSContext.Mode
  private let caPEM: String?
  private(set) var redshift: RedshiftTarget?
  let pool: PoolSettings?

  /// - Throws: `ConfigurationError` that names the database and the missing or contradictory setting.
  public init(_ configuration: DatabaseConfiguration, origin: Origin = .file) throws {
    self.origin = origin
    self.configuration = configuration
    name = configuration.name
    description = configuration.description
    uri = configuration.uri
    labels = configuration.labels
    dynamicLabels = configuration.dynamicLabels
    let complaint = Self.complaint(of: configuration)
    guard let target = HostPort(configuration.uri) else {
      throw complaint("uri must be HOST:PORT")
    }
    (host, port) = (target.host, target.port)
    serverName = configuration.serverName ?? host
    do {
      let fromFile = try configuration.caFile.map { path in
        guard let data = FileManager.default.contents(atPath: path), let text = String(data: data, encoding: .utf8)
        else {
          throw complaint("ca_cert_file \(path) cannot be read")
        }
        return text
      }
      tlsMode = ClientTLSContext.Mode(rawValue: configuration.tlsMode) ?? .verifyFull
      caPEM = configuration.caPEM ?? fromFile
      tls = try ClientTLSContext(mode: tlsMode, trustedCAPEM: caPEM)
      redshift = try RedshiftTarget(configuration, host: host, complaint: complaint)
      pool = configuration.pool.map(PoolSettings.init)
    } catch let error as TLSConfigurationError {
      throw complaint(error.description)
    } catch let error as AWSError {
      throw complaint(error.message)
    }
  }

  /// A context that presents a client certificate; trusts the cluster's db CAs too, unless there is a CA file.
  func context(
    presenting certificate: (chainPEM: String, keyPEM: Secret), clusterCAPEMs: [String]
  ) throws(TLSConfigurationError) -> ClientTLSContext {
    try ClientTLSContext(
      mode: tlsMode, trustedCAPEM: caPEM, furtherCAPEMs: caPEM == nil ? clusterCAPEMs : [],
      clientCertificate: certificate)
  }

  /// What connections to it have in common, as it is configured.
  var identity: Identity {
    Identity(name: name, uri: uri, serverName: serverName, tlsMode: tlsMode, caPEM: caPEM)
  }

  struct Identity: Hashable {
    let name: String
    let uri: String
    let serverName: String
    let tlsMode: ClientTLSContext.Mode
    let caPEM: String?
  }

  /// `db_type` of audit records.
  var auditType: String { redshift?.auditType ?? "self-hosted" }

  /// Fields of audit records that tell which database it is.
  var auditFields: [(name: StaticString, value: AuditEvent.Value)] {
    (labels.isEmpty ? [] : [("db_labels", .pairs(labels))]) + (redshift?.auditFields ?? [])
  }

  /// What a session dials, for those who look at the way to it.
  package var endpoint: (host: String, port: UInt16, serverName: String, tls: ClientTLSContext) {
    (host, port, serverName, tls)
  }

  /// Its address and what it is at AWS, for those likewise.
  package var summary: String { "\(uri), \(redshift?.place ?? "without AWS")" }

  /// The login that AWS is asked for; `nil` for a database that is none of Redshift.
  package func login(user: String, database: String) throws -> DatabaseLogin? {
    try redshift?.login(user: user, database: database, isSpelledOut: false)
  }

  private static func complaint(of configuration: DatabaseConfiguration) -> (String) -> ConfigurationError {
    { ConfigurationError("database '\(configuration.name)': \($0)") }
  }

  /// The DNS said what it is, and may say something else later.
  var isOfAlias: Bool { redshift?.isOfAlias ?? false }

  /// The same as the DNS says it is now. Blocks.
  ///
  /// - Throws: `ConfigurationError` if it says nothing of use.
  func lookedUpAgain() throws -> ServedDatabase {
    var fresh = self
    fresh.redshift = try RedshiftTarget(configuration, host: host, complaint: Self.complaint(of: configuration))
    return fresh
  }

  /// AWS account and region where database users are IAM roles.
  public var account: String? { redshift?.accountOfUsers }
  public var region: String? { account == nil ? nil : redshift?.region }
  public var workgroup: String? { redshift?.workgroup }
  public var cluster: DatabaseRecord.Cluster? { redshift?.cluster }
  public var assumeRoleARN: String? { redshift?.assumeRole?.description }

  /// How roles may write `user` at this database.
  public func spellings(ofUser user: String) -> DatabaseUserSpellings {
    Self.spellings(ofUser: user, account: account, region: region)
  }

  /// How roles may write `user` at a database whose users are IAM roles of that account, or plain names.
  public static func spellings(ofUser user: String, account: String?, region: String?) -> DatabaseUserSpellings {
    guard let account, let region else { return DatabaseUserSpellings([user]) }
    return DatabaseUserSpellings(
      RoleARN.spellings(ofDatabaseUser: user, account: account, region: region),
      alsoDenied: RoleARN.name(inDatabaseUser: user).map { [$0] } ?? [])
  }
}
