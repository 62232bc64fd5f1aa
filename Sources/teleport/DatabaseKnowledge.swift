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
      let target: DatabaseLogin.Target
      guard let account = record.cluster?.account ?? record.accountID,
        let region = record.cluster?.region ?? record.region
      else { return nil }
      if let cluster = record.cluster {
        target = .cluster(cluster.id)
      } else if let workgroup = record.workgroup {
        target = .workgroup(workgroup)
      } else {
        return nil
      }
      do {
        let login = try DatabaseLogin.User(
          user, at: target, account: account, region: region, mayBeForeign: isSpelledOut)
        var chain = RoleChain(
          roles: record.assumeRoleARN.map { [$0] } ?? [], account: account, region: region,
          workgroup: record.workgroup, cluster: record.cluster?.id, databaseUser: user)
        if case .role(let role) = login {
          chain.roles.append(role.description)
          chain.databaseUser = role.databaseUser
        }
        return chain
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
