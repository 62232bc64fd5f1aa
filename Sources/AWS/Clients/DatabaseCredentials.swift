import Foundation
import Secrets

/// A temporary login at a database.
public struct DatabaseCredentials: Sendable {
  /// Seconds that are asked for: the least that AWS gives, so that a password that leaks is soon worth nothing.
  static let duration = 900

  public let user: String
  public let password: Secret
  public let expiration: Date
  /// When asking again begins to give a new password, if AWS said so.
  public let nextRefresh: Date?
}
