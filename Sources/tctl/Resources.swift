import AccessControl
import ArgumentParser
import ControlAPI
import ControlClient
import Foundation
import Yams

/// `tctl create`.
struct Create: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Create resources from a YAML file or stdin.")

  @Argument(help: "YAML file; stdin if left out.") var file: String?
  // The guide writes `-f FILE`, which in Teleport is --force followed by the file.
  @Flag(name: .shortAndLong, help: "Replace what exists already.") var force = false
  @OptionGroup var connection: ConnectionOptions

  private static let maximumSize = 1 << 20

  func run() async throws {
    try await connection.withClient { client in
      // All documents are checked before the first is applied.
      for resource in try read() {
        switch resource {
        case .role(let role):
          let answer: RoleResponse = try await client.post("/v1/roles", RoleRequest(role: role, force: force))
          print("role '\(role.metadata.name)' has been \(answer.replaced ? "updated" : "created")")
        case .authPreference(let preference):
          let request = AuthPreferenceRequest(preference: preference, force: force)
          let _: AuthPreference = try await client.put("/v1/cluster_auth_preference", request)
          print("cluster auth preference has been updated")
        case .lock(let lock):
          let answer: LockResponse = try await client.post("/v1/locks", LockRequest(lock: lock, force: force))
          print("lock '\(lock.metadata.name)' has been \(answer.replaced ? "updated" : "created")")
        }
      }
    }
  }

  private enum Resource {
    case role(Role)
    case authPreference(AuthPreference)
    case lock(Lock)
  }

  private struct Header: Decodable { let kind: String? }

  private func read() throws -> [Resource] {
    let name = file ?? "stdin"
    let data =
      file.map { FileManager.default.contents(atPath: $0) }
      ?? FileHandle.standardInput.readData(ofLength: Self.maximumSize + 1)
    guard let data, data.count <= Self.maximumSize, let text = String(data: data, encoding: .utf8) else {
      throw ToolError("\(name) cannot be read as text of at most 1 MiB")
    }
    do {
      let resources = try Self.documents(text).map { document in
        let kind = try YAMLDecoder().decode(Header.self, from: document).kind
        return switch kind {
        case AuthPreference.kind:
          Resource.authPreference(try YAMLDecoder().decode(AuthPreference.self, from: document))
        case Lock.kind: Resource.lock(try YAMLDecoder().decode(Lock.self, from: document))
        default: Resource.role(try YAMLDecoder().decode(Role.self, from: document))
        }
      }
      guard !resources.isEmpty else { throw ToolError("\(name) holds no resource") }
      return resources
    } catch let error as DecodingError {
      throw ToolError("\(name): \(Self.explain(error))")
    } catch let error as YamlError {
      throw ToolError("\(name): " + "\(error)".split(whereSeparator: \.isNewline).joined(separator: " "))
    } catch let error as RoleError {
      throw ToolError("\(name): \(error.description)")
    }
  }

  /// The documents of a file as nodes: read into values first, `1.20` would come back as `1.2` and `007` as `7`.
  private static func documents(_ text: String) throws -> [Node] {
    var documents = try Yams.compose_all(yaml: text)
    var nodes: [Node] = []
    while let node = documents.next() {
      switch node {
      // What `get` prints, in YAML and in JSON.
      case .sequence(let list): nodes += list
      // Nothing between two `---` lines.
      case .scalar(let scalar) where scalar.string.isEmpty: break
      default: nodes.append(node)
      }
    }
    // A sequence cannot throw while it is walked over: it ends, and says why here.
    if let error = documents.error { throw error }
    return nodes
  }

  private static func explain(_ error: DecodingError) -> String {
    switch error {
    case .keyNotFound(let key, _): return "'\(key.stringValue)' is missing"
    case .typeMismatch(_, let context), .valueNotFound(_, let context), .dataCorrupted(let context):
      if let cause = context.underlyingError as? RoleError { return cause.description }
      let path = context.codingPath.map(\.stringValue).joined(separator: ".")
      return "'\(path)' has the wrong form: \(context.debugDescription)"
    @unknown default: return "\(error)"
    }
  }
}

/// `tctl get`.
struct Get: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Print resources: roles, role/NAME, users, user/NAME, tokens, db, locks, cluster_auth_preference.")

  @Argument(help: "Kind, or KIND/NAME.") var resource: String
  @Option(help: "yaml or json.") var format = OutputFormat.yaml
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    let parts = resource.split(separator: "/", maxSplits: 1).map(String.init)
    let name = parts.count > 1 ? parts[1] : nil
    try await connection.withClient { client in
      switch parts.first {
      case "role", "roles":
        try show(try await client.get("/v1/roles") as [Role], name) { $0.metadata.name }
      case "user", "users":
        try show(try await client.get("/v1/users") as [UserListing], name) { $0.name }
      case "token", "tokens":
        try show(try await client.get("/v1/tokens") as [TokenListing], name) { $0.id }
      case "lock", "locks":
        try show(try await client.get("/v1/locks") as [Lock], name) { $0.metadata.name }
      case "db", "dbs":
        try show(try await client.get("/v1/databases") as [DatabaseListing], name) { $0.name }
      case "cluster_auth_preference", "cap":
        let preference: AuthPreference = try await client.get("/v1/cluster_auth_preference")
        print(try Terminal.formatted(preference, format == .text ? .yaml : format))
      default:
        throw ToolError("unknown kind '\(resource)'", hint: "use roles, users, tokens, db, locks or cap")
      }
    }
  }

  private func show<Item: Encodable>(_ items: [Item], _ name: String?, _ nameOf: (Item) -> String) throws {
    let chosen = items.filter { name == nil || nameOf($0) == name }
    guard name == nil || !chosen.isEmpty else { throw ToolError("\(resource) not found") }
    print(try Terminal.formatted(chosen, format == .text ? .yaml : format))
  }
}

/// `tctl rm`.
struct Remove: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rm", abstract: "Remove a resource: role/NAME, user/NAME, token/ID, lock/NAME.")

  @Argument(help: "KIND/NAME.") var resource: String
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    let parts = resource.split(separator: "/", maxSplits: 1).map(String.init)
    try await connection.withClient { client in
      guard parts.count == 2, ["role", "user", "token", "lock"].contains(parts[0]) else {
        throw ToolError("'\(resource)' is not KIND/NAME", hint: "for example role/dev")
      }
      try await client.delete("/v1/\(parts[0])s/\(APIClient.segment(parts[1]))")
      print("\(parts[0]) '\(parts[1])' has been deleted")
    }
  }
}
