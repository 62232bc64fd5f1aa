import AccessControl
import ControlAPI
import Foundation
import Hummingbird
import StateStore

/// Databases that Discovery Services found. Each belongs to a discovery group, which alone changes and removes it.
extension AuthServer {
  private enum Change {
    case put(DatabaseResource, replaced: Bool)
    case removed(String)
  }

  /// Makes, changes and removes databases of a group, in one transaction.
  ///
  /// - Parameters:
  ///   - actor: the host, for the record.
  ///   - check: throws `AuthError` for a database that no Database Service could serve.
  /// - Returns: why some were not taken up: another one has the name, or they cannot be served. The rest is.
  public func takeUp(
    _ found: DiscoveredDatabases, by actor: String, check: (DatabaseResource) throws -> Void
  ) throws -> DiscoveryAnswer {
    guard Role.isValidName(found.group) else { throw AuthError.invalid("the discovery group is not a valid name") }
    guard found.databases.count + found.removed.count <= DiscoveredDatabases.maximumCount else {
      throw AuthError.invalid("at most \(DiscoveredDatabases.maximumCount) databases at once")
    }
    var refused: [String: String] = [:]
    let usable = try found.databases.map { $0.owned(by: found.group) }.filter { resource in
      guard Role.isValidName(resource.name) else {
        refused[resource.name] = "it is not a valid name"
        return false
      }
      do {
        try resource.validate()
        try check(resource)
        return true
      } catch let error as RoleError {
        refused[resource.name] = error.description
      } catch let error as AuthError where error.isForCaller {
        refused[resource.name] = error.description
      }
      return false
    }
    let (changes, others) = try state.database.write { database in
      var changes: [Change] = []
      var others: [String: String] = [:]
      for name in found.removed where try Self.database(named: name, in: database)?.discoveryGroup == found.group {
        try Self.removeDatabase(name, in: database)
        changes.append(.removed(name))
      }
      for resource in usable {
        do {
          guard let replaced = try Self.put(resource, of: found.group, in: database) else { continue }
          changes.append(.put(resource, replaced: replaced))
        } catch let error as AuthError where error.isForCaller {
          others[resource.name] = error.description
        }
      }
      return (changes, others)
    }
    for change in changes {
      switch change {
      case .put(let resource, let replaced): record(resource, replaced: replaced, by: actor)
      case .removed(let name): emit("db.delete", "TDB05I", name: name, by: actor)
      }
    }
    return DiscoveryAnswer(refused: refused.merging(others) { $1 })
  }

  /// - Returns: whether there was one before; `nil` if it is there already, just so.
  /// - Throws: `AuthError.exists` if it is somebody else's.
  private static func put(_ resource: DatabaseResource, of group: String, in database: Database) throws -> Bool? {
    let exists =
      try Int.fetchOne(database, sql: "SELECT count(*) FROM db WHERE name = ?", arguments: [resource.name]) ?? 0 > 0
    if exists {
      // One that cannot be read cannot be told to be the group's own.
      let present = try Self.database(named: resource.name, in: database)
      guard present?.discoveryGroup == group else {
        throw AuthError.exists("there is a db of this name that discovery group '\(group)' did not make", hint: nil)
      }
      guard present != resource else { return nil }
    } else {
      try refuseMore(in: database)
    }
    try store(resource, in: database)
    return exists
  }

  private static func database(named name: String, in database: Database) throws -> DatabaseResource? {
    try String.fetchOne(database, sql: "SELECT json FROM db WHERE name = ?", arguments: [name]).flatMap {
      try? JSONDecoder().decode(DatabaseResource.self, from: Data($0.utf8))
    }
  }
}

/// What Discovery Services call.
struct DiscoveryRoutes {
  let auth: AuthServer
  let knowledge: DatabaseKnowledge

  func add(to router: Router<CallContext>) {
    router.post("/v1/discovery/databases") { request, context in
      let host = try context.host(auth)
      guard host.services.contains(.discovery) else {
        throw AuthError.forbidden("the host did not join for the discovery service")
      }
      let body = try await APICoder().decode(
        DiscoveredDatabases.self, from: request, upTo: HostRoutes.maximumReport)
      let answer = try auth.takeUp(body, by: host.hostID, check: knowledge.check)
      return try context.responseEncoder.encode(answer, from: request, context: context)
    }
  }
}
