import AccessControl
import ControlAPI

/// How roles may write a user of a database.
public typealias DatabaseSpellings =
  @Sendable (_ user: String, _ database: DatabaseRecord) -> DatabaseUserSpellings

/// What the Auth Service has to know of databases and does not: it comes from the Database Service's own code, so that
/// both say the same.
public struct DatabaseKnowledge: Sendable {
  public let spellings: DatabaseSpellings
  /// How AWS is asked for a login of a user, whom a role names letter by letter or not; `nil` for a database that needs none. Throws `AuthError.invalid` for a user
  /// that AWS cannot be asked for.
  public let roleChain:
    @Sendable (_ user: String, _ isSpelledOut: Bool, _ database: DatabaseRecord) throws -> RoleChain?
  /// Throws `AuthError.invalid` for a database that no Database Service could serve.
  public let check: @Sendable (DatabaseResource) throws -> Void

  public init(
    spellings: @escaping DatabaseSpellings,
    roleChain: @escaping @Sendable (String, Bool, DatabaseRecord) throws -> RoleChain?,
    check: @escaping @Sendable (DatabaseResource) throws -> Void
  ) {
    self.spellings = spellings
    self.roleChain = roleChain
    self.check = check
  }
}
