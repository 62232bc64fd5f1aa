import AccessControl
import ControlAPI

extension AuthServer {
  /// Decides about a session as the Database Service would, by the same evaluator, and tells every reason.
  ///
  /// It goes by the roles that the user has now, which is what a fresh login carries. Whether AWS and the database play
  /// along is not tried.
  func explain(_ request: ExplainRequest, _ knowledge: DatabaseKnowledge) throws -> ExplainResponse {
    var answer = ExplainResponse(request: request)
    let user = try user(request.user)
    if let user {
      let locks = try locks().filter { $0.hits(user: user.name, roles: user.roles, database: request.database) }
      for lock in locks {
        answer.problems.append("user '\(user.name)' is \(lock.notice)")
        answer.mends.append("remove the lock: tctl rm lock/\(lock.name)")
      }
      answer.locks = locks.map(\.name)
    } else {
      answer.problems.append("user '\(request.user)' does not exist")
      answer.mends.append("make the user: tctl users add \(request.user) --roles=ROLE")
    }
    let database = try databases().first { $0.name == request.database }
    if database == nil { try explainMissing(request.database, &answer) }
    if let database {
      answer.labels = database.labels
      let isSpelledOut = try user.map { try explainRoles(of: $0, at: database, knowledge, &answer) } ?? false
      try explainAWS(database, knowledge, isSpelledOut: isSpelledOut, &answer)
    }
    answer.allowed = answer.problems.isEmpty
    return answer
  }

  private func explainMissing(_ name: String, _ answer: inout ExplainResponse) throws {
    answer.problems.append("no Database Service serves '\(name)' now")
    guard let resource = try databaseResources().first(where: { $0.name == name }) else {
      answer.mends.append("see 'tctl db ls' for the databases there are, and whether its host is connected")
      return
    }
    let labels = Self.text(resource.metadata.labels ?? [:])
    answer.mends.append(
      "db/\(name) exists, but the db_service.resources of no connected host match its labels (\(labels)): change them or a host's teleport.yaml"
    )
  }

  private func explainAWS(
    _ database: DatabaseRecord, _ knowledge: DatabaseKnowledge, isSpelledOut: Bool, _ answer: inout ExplainResponse
  ) throws {
    do {
      answer.aws = try knowledge.roleChain(answer.request.databaseUser, isSpelledOut, database)
    } catch AuthError.invalid(let message, let hint) {
      answer.problems.append("AWS cannot be asked for database user '\(answer.request.databaseUser)': \(message)")
      if let hint { answer.mends.append(hint) }
    }
  }

  /// - Returns: whether a role names the database user letter by letter.
  private func explainRoles(
    of user: StoredUser, at database: DatabaseRecord, _ knowledge: DatabaseKnowledge, _ answer: inout ExplainResponse
  ) throws -> Bool {
    let request = answer.request
    let checker = AccessChecker(roles: try roles(named: Set(user.roles)), traits: user.traits)
    let access = DatabaseAccess(
      labels: database.labels, databaseName: request.databaseName,
      databaseUsers: knowledge.spellings(request.databaseUser, database), wantsReplication: request.wantsReplication)
    let explanation = checker.explain(access)
    answer.roles = explanation.roles
    if let reason = explanation.reason { answer.problems.append(reason) }
    answer.mends += explanation.mends(
      user: user.name,
      wanted: [
        .labels: Self.text(database.labels), .users: request.databaseUser, .names: request.databaseName,
      ])
    return checker.spellsOut(access)
  }

  private static func text(_ labels: [String: String]) -> String {
    labels.isEmpty ? "none" : labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
  }
}
