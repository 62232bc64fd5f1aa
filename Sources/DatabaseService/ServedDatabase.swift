import AWS
import AccessControl
import Audit
import ConfigurationFile
import Foundation
import TLS
import TextForms

/// A database to serve, with everything derived that can be derived at start.
public struct ServedDatabase: Sendable {
  /// Where it is described, as listings name it.
  public enum Origin: String, Sendable {
    case file = "config-file"
    case dynamic
  }

  /// How Redshift Serverless is asked for a login.
  struct Serverless: Sendable {
    let workgroup: String
    let region: String
    let account: String
    let assumeRole: RoleARN?
    let externalID: String?
  }

  public let name: String
  public let description: String
  public let uri: String
  public let labels: [String: String]
  public let origin: Origin
  let host: String
  let port: UInt16
  let serverName: String
  let tls: ClientTLSContext
  let serverless: Serverless?

  /// - Throws: `ConfigurationError` that names the database and the missing or contradictory setting.
  public init(_ configuration: DatabaseConfiguration, origin: Origin = .file) throws {
    self.origin = origin
    name = configuration.name
    description = configuration.description
    uri = configuration.uri
    labels = configuration.labels
    func complaint(_ text: String) -> ConfigurationError {
      ConfigurationError("database '\(configuration.name)': \(text)")
    }
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
      tls = try ClientTLSContext(
        mode: ClientTLSContext.Mode(rawValue: configuration.tlsMode) ?? .verifyFull,
        trustedCAPEM: configuration.caPEM ?? fromFile)
      serverless = try Self.serverless(configuration, host: host, complaint: complaint)
    } catch let error as TLSConfigurationError {
      throw complaint(error.description)
    } catch let error as AWSError {
      throw complaint(error.message)
    }
  }

  private static func serverless(
    _ configuration: DatabaseConfiguration, host: String, complaint: (String) -> ConfigurationError
  ) throws -> Serverless? {
    let endpoint = RedshiftServerlessEndpoint(host: host)
    guard endpoint != nil || configuration.workgroup != nil else { return nil }
    func pick(_ configured: String?, _ derived: String?, _ key: String) throws -> String {
      if let configured, let derived, !derived.isEmpty, configured != derived {
        throw complaint("\(key) '\(configured)' contradicts the uri, which says '\(derived)'")
      }
      guard let value = configured ?? derived, !value.isEmpty else {
        throw complaint("\(key) cannot be read from the uri; set it")
      }
      return value
    }
    let region = try pick(configuration.region, endpoint?.region, "aws.region")
    let account = try pick(configuration.accountID, endpoint?.account, "aws.account_id")
    return Serverless(
      workgroup: try pick(configuration.workgroup, endpoint?.workgroup, "aws.redshift_serverless.workgroup_name"),
      region: region, account: account, assumeRole: try configuration.assumeRoleARN.map { try RoleARN($0) },
      externalID: configuration.externalID)
  }

  /// `db_type` of audit records.
  var auditType: String { serverless == nil ? "self-hosted" : "redshift-serverless" }

  /// Fields of audit records that tell which database it is.
  var auditFields: [(name: StaticString, value: AuditEvent.Value)] {
    var fields: [(name: StaticString, value: AuditEvent.Value)] = []
    if !labels.isEmpty { fields.append(("db_labels", .pairs(labels))) }
    guard let serverless else { return fields }
    fields.append(("db_aws_region", .text(serverless.region)))
    fields.append(("db_aws_account_id", .text(serverless.account)))
    fields.append(("db_aws_redshift_serverless_workgroup", .text(serverless.workgroup)))
    return fields
  }

  /// AWS account and region where database users are IAM roles.
  public var account: String? { serverless?.account }
  public var region: String? { serverless?.region }
  public var workgroup: String? { serverless?.workgroup }
  public var assumeRoleARN: String? { serverless?.assumeRole?.description }

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
