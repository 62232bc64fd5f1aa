import AWS
import AccessControl
import AuthService
import ConfigurationFile
import ControlAPI
import DatabaseService

extension DatabaseKnowledge {
  /// What this program's Database Service knows, for its Auth Service.
  static let ofDatabaseService = DatabaseKnowledge(
    spellings: { user, record in
      ServedDatabase.spellings(ofUser: user, account: record.accountID, region: record.region)
    },
    roleChain: { user, isSpelledOut, record in
      guard let account = record.accountID, let region = record.region, let workgroup = record.workgroup else {
        return nil
      }
      do {
        let role = try RoleARN.ofDatabaseUser(user, account: account, region: region, mayBeForeign: isSpelledOut)
        return RoleChain(
          roles: [record.assumeRoleARN, role.description].compactMap { $0 }, account: account, region: region,
          workgroup: workgroup, databaseUser: role.databaseUser)
      } catch let error as AWSError {
        throw AuthError.invalid(error.message, hint: error.mend)
      }
    },
    check: { resource in
      do {
        _ = try ServedDatabase(DatabaseConfiguration(resource), origin: .dynamic)
      } catch let error as RoleError {
        throw AuthError.invalid("database '\(resource.name)': \(error.description)")
      } catch let error as ConfigurationError {
        throw AuthError.invalid(error.description)
      }
    })
}
