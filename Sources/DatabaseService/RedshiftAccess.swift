import AWS
import ConfigurationFile
import TextForms

/// What a configured database needs of AWS, without anything that only connecting needs.
public struct RedshiftAccess: Sendable {
  public let target: DatabaseLogin.Target
  public let region: String
  /// Twelve digits.
  public let account: String
  public let assumeRole: RoleARN?
  public let externalID: String?

  /// - Returns: `nil` for a database that is none of Redshift.
  /// - Throws: `ConfigurationError` that names the database and the missing or contradictory setting.
  public init?(_ configuration: DatabaseConfiguration) throws {
    func complaint(_ text: String) -> ConfigurationError {
      ConfigurationError("database '\(configuration.name)': \(text)")
    }
    guard let address = HostPort(configuration.uri) else { throw complaint("uri must be HOST:PORT") }
    do {
      guard let found = try RedshiftTarget(configuration, host: address.host, complaint: complaint) else { return nil }
      (target, region, account) = (found.target, found.region, found.account)
      (assumeRole, externalID) = (found.assumeRole, found.externalID)
    } catch let error as AWSError {
      throw complaint(error.message)
    }
  }
}
