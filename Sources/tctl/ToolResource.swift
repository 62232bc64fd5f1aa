import AccessControl
import ConfigurationFile
import ControlAPI
import ControlClient
import Foundation
import Yams

/// A kind of resource as `tctl get`, `create`, `edit` and `rm` handle it.
protocol ToolResource: ClusterResource {
  /// What the kind may be called besides `kind`.
  static var aliases: [String] { get }
  /// The only resource of the kind; `nil` where there may be many.
  static var onlyName: String? { get }
  /// Columns of `--format=text`.
  static var columns: [String] { get }
  var row: [String] { get }
  /// Checks what `validate` leaves to others. Throws `RoleError`.
  func checkFurther() throws
  /// What is left to do once it has been made.
  var nextStep: String? { get }
}

extension ToolResource {
  static var onlyName: String? { nil }
  func checkFurther() throws {}
  var nextStep: String? { nil }
}

enum ResourceKinds {
  /// In the order in which a cluster can be filled with them: users need their roles.
  static let all: [any ToolResource.Type] = [
    Role.self, UserResource.self, TokenResource.self, DatabaseResource.self, AuthPreference.self, Lock.self,
  ]

  /// The kinds by name, for help texts.
  static var list: String { all.map { $0.kind }.joined(separator: ", ") }

  static func named(_ name: String) throws -> any ToolResource.Type {
    let name = name.lowercased()
    if let kind = all.first(where: { $0.kind == name || $0.aliases.contains(name) }) { return kind }
    let nearest = Spelling.nearest(to: name, among: all.flatMap { [$0.kind] + $0.aliases })
    throw ToolError(
      "unknown kind '\(name)'" + (nearest.map { "; did you mean '\($0)'?" } ?? ""), hint: "use one of \(list)")
  }
}

/// `KIND/NAME`, or a kind alone.
struct ResourceReference {
  let kind: any ToolResource.Type
  let name: String?
  let text: String

  init(_ text: String) throws {
    self.text = text
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    kind = try ResourceKinds.named(parts[0])
    name = parts.count > 1 && !parts[1].isEmpty ? parts[1] : kind.onlyName
  }

  /// - Throws: `ToolError` if it is a kind alone.
  func requireName() throws -> String {
    guard let name else {
      throw ToolError("'\(text)' names no resource", hint: "write KIND/NAME, for example role/dev")
    }
    return name
  }
}

extension APIClient {
  private static func path(_ kind: any ToolResource.Type) -> String { "/v1/resources/\(kind.kind)" }

  /// All resources of a kind.
  func list(_ kind: any ToolResource.Type, withSecrets: Bool = false) async throws -> [any ToolResource] {
    func list<Resource: ToolResource>(_ kind: Resource.Type) async throws -> [any ToolResource] {
      try await get(Self.path(kind) + (withSecrets ? "?with_secrets=true" : "")) as [Resource]
    }
    return try await list(kind)
  }

  /// One of them.
  func find(_ reference: ResourceReference, withSecrets: Bool = false) async throws -> any ToolResource {
    let name = try reference.requireName()
    let found = try await list(reference.kind, withSecrets: withSecrets).first {
      // A token goes by the beginning of its hash, even where all of it is shown.
      $0.name == name || name.utf8.count == TokenName.idLength && $0.name.hasPrefix(TokenName.hashPrefix + name)
    }
    guard let found else {
      let isDatabase = reference.kind == DatabaseResource.self
      throw ToolError(
        "\(reference.text) not found",
        hint: isDatabase
          ? "'tctl db ls' also shows databases that stand in a teleport.yaml" : "see 'tctl get \(reference.kind.kind)'")
    }
    return found
  }

  func put(_ resource: any ToolResource, _ condition: WriteCondition) async throws -> ResourceResponse {
    func put<Resource: ToolResource>(_ resource: Resource) async throws -> ResourceResponse {
      try await post(Self.path(Resource.self), ResourceRequest(resource: resource, condition: condition))
    }
    return try await put(resource)
  }

  func remove(_ kind: any ToolResource.Type, _ name: String) async throws {
    try await delete(Self.path(kind) + "/" + Self.segment(name))
  }
}

extension Role: ToolResource {
  static let aliases = ["roles"]
  static let columns = ["Role", "Databases", "Database Users", "Database Names"]
  var row: [String] {
    let labels = (spec.allow.databaseLabels ?? [:]).sorted { $0.key < $1.key }
      .map { "\($0.key): \($0.value.all.joined(separator: "|"))" }.joined(separator: ", ")
    return [
      name, labels, spec.allow.databaseUsers.joined(separator: ","), spec.allow.databaseNames.joined(separator: ","),
    ]
  }
}

extension UserResource: ToolResource {
  static let aliases = ["users"]
  static let columns = ["User", "Roles", "Traits"]
  var row: [String] {
    let traits = spec.traits.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.joined(separator: ","))" }
    return [name, spec.roles.joined(separator: ","), traits.joined(separator: "; ")]
  }
  var nextStep: String? { "For a link to set a password with: tctl users reset \(name)" }
}

extension TokenResource: ToolResource {
  static let aliases = ["tokens"]
  static let columns = ["Token (hash)", "Type", "Expires"]
  var row: [String] { [name, spec.roles.joined(separator: ","), metadata.expires ?? "never"] }
}

extension DatabaseResource: ToolResource {
  static let aliases = ["dbs", "databases", "database"]
  static let columns = ["Name", "Protocol", "URI", "Labels"]
  var row: [String] { [name, spec.protocol, spec.uri, Databases.text(labels: metadata.labels ?? [:])] }
  func checkFurther() throws { _ = try DatabaseConfiguration(self) }
}

extension AuthPreference: ToolResource {
  static let aliases = ["cap"]
  static let onlyName: String? = AuthPreference.name
  static let columns = ["Name", "Second Factor", "Origin"]
  var row: [String] { [name, spec.secondFactor.rawValue, metadata.labels?["teleport.dev/origin"] ?? ""] }
}

extension Lock: ToolResource {
  static let aliases = ["locks"]
  static let columns = ["Lock", "Target", "Message", "Expires"]
  var row: [String] {
    [
      name, spec.target.fields.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ","),
      spec.message ?? "", spec.expires ?? "never",
    ]
  }
}
