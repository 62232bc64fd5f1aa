import Foundation
import Metrics
import Secrets

/// Which login is wanted: everything that makes one differ from another.
public struct DatabaseLogin: Hashable, Sendable {
  public let workgroup: String
  public let region: String
  public let database: String
  /// Assumed first, if the database's configuration says so.
  public let assumeRole: RoleARN?
  public let externalID: String?
  /// The role that the database user stands for.
  public let userRole: RoleARN

  public init(
    workgroup: String, region: String, database: String, assumeRole: RoleARN?, externalID: String?, userRole: RoleARN
  ) {
    self.workgroup = workgroup
    self.region = region
    self.database = database
    self.assumeRole = assumeRole
    self.externalID = externalID
    self.userRole = userRole
  }
}

/// Gets temporary logins: own credentials → (assume_role_arn →) the user's role → GetCredentials.
///
/// Results are kept until shortly before they end; callers who want the same at the same time cause one call; failures
/// are remembered for a second. An actor: callable from anywhere.
public actor RedshiftServerlessAuthenticator {
  private enum Entry {
    case ready(DatabaseCredentials, until: Date)
    case failed(AWSError, until: Date)
    /// Nobody joins it after `until` (an uptime): whatever it hangs on must not become everybody's.
    case underway(Task<DatabaseCredentials, any Error>, until: TimeInterval)
  }

  private let maximumEntries: Int
  private static let margin: TimeInterval = 60
  private static let failureMemory: TimeInterval = 1
  private let environment: AWSEnvironment
  private let sources: CredentialSources
  private var entries: [DatabaseLogin: Entry] = [:]
  /// Least recently made first.
  private var order: [DatabaseLogin] = []

  public init(environment: AWSEnvironment, maximumEntries: Int = 10_000) {
    self.environment = environment
    self.maximumEntries = maximumEntries
    sources = CredentialSources(environment: environment)
  }

  /// A login that is good for a minute at least.
  ///
  /// - Parameter rejected: a password that the database has refused; it is forgotten if it is the one kept.
  /// - Parameter sessionName: names the person in AWS's own records.
  public func credentials(
    for login: DatabaseLogin, sessionName: String, rejected: Secret? = nil
  ) async throws -> (credentials: DatabaseCredentials, isCached: Bool) {
    switch entries[login] {
    case .ready(let credentials, let until) where until > environment.now() && credentials.password !== rejected:
      Self.count("hit")
      return (credentials, true)
    case .failed(let error, let until) where until > environment.now():
      Self.count("recent_failure")
      throw error
    case .underway(let task, let until) where until > environment.uptime():
      Self.count("joined")
      return (try await task.value, true)
    case .underway(let task, _):
      task.cancel()
    default: break
    }
    Self.count("miss")
    let task = Task { [environment, sources] in
      try await Self.fetch(login, Self.sessionName(sessionName), environment, sources)
    }
    // The signed calls' budget, and as much again to find this host's own credentials.
    remember(.underway(task, until: environment.uptime() + 2 * environment.callBudget), for: login)
    do {
      let credentials = try await task.value
      settle(task, .ready(credentials, until: keepUntil(credentials)), for: login)
      return (credentials, false)
    } catch {
      let failure = error as? AWSError ?? AWSError("Timeout", "\(error)")
      settle(task, .failed(failure, until: environment.now() + Self.failureMemory), for: login)
      throw failure
    }
  }

  private static func count(_ result: String) {
    Counter(label: "sallyport_credential_cache_total", dimensions: [("result", result)]).increment()
  }

  /// Puts the outcome of `task` in its place, if it still has one: not evicted, and no other started there since.
  private func settle(_ task: Task<DatabaseCredentials, any Error>, _ outcome: Entry, for login: DatabaseLogin) {
    guard case .underway(let current, _) = entries[login], current == task else { return }
    remember(outcome, for: login)
  }

  private func keepUntil(_ credentials: DatabaseCredentials) -> Date {
    let end = credentials.expiration - Self.margin
    return credentials.nextRefresh.map { min($0, end) } ?? end
  }

  private func remember(_ entry: Entry, for login: DatabaseLogin) {
    if entries.updateValue(entry, forKey: login) == nil { order.append(login) }
    while order.count > maximumEntries { entries[order.removeFirst()] = nil }
  }

  private static func fetch(
    _ login: DatabaseLogin, _ sessionName: String, _ environment: AWSEnvironment, _ sources: CredentialSources
  ) async throws -> DatabaseCredentials {
    let own = try await sources.credentials()
    let caller = AWSCaller(environment: environment)
    do {
      return try await chain(login, sessionName, caller, own)
    } catch let error as AWSError where error.isExpiredToken {
      await sources.forget()
      return try await chain(login, sessionName, caller, try await sources.credentials())
    }
  }

  private static func chain(
    _ login: DatabaseLogin, _ sessionName: String, _ caller: AWSCaller, _ own: AWSCredentials
  ) async throws -> DatabaseCredentials {
    let sts = STSClient(caller: caller, region: login.region)
    var credentials = own
    if let role = login.assumeRole {
      credentials = try await sts.assumeRole(
        role, sessionName: sessionName, externalID: login.externalID, with: credentials)
    }
    // The external ID vouches for the first hop only.
    let externalID = login.assumeRole == nil ? login.externalID : nil
    credentials = try await sts.assumeRole(
      login.userRole, sessionName: sessionName, externalID: externalID, with: credentials)
    let client = RedshiftServerlessClient(caller: caller, region: login.region)
    let result = try await client.getCredentials(
      workgroup: login.workgroup, database: login.database, with: credentials)
    guard result.user == login.userRole.databaseUser else {
      throw AWSError(
        "InvalidResponse", "GetCredentials answered for another database user than \(login.userRole.databaseUser)")
    }
    return result
  }

  /// Session names take `[\w+=,.@-]`, 2 to 64 of them.
  private static func sessionName(_ text: String) -> String {
    let allowed = text.unicodeScalars.map { scalar in
      scalar.isASCII
        && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) || "_+=,.@-".unicodeScalars.contains(scalar))
        ? Character(scalar) : "_"
    }
    return String((String(allowed) + "__").prefix(max(2, min(64, text.count))))
  }
}
