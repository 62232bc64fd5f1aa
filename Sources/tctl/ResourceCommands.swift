import ArgumentParser
import ControlAPI
import ControlClient
import Foundation

/// `tctl create`.
struct Create: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Create resources from a YAML file or stdin.",
    discussion: "Kinds: \(ResourceKinds.list); a file may hold several, divided by '---'.")

  @Argument(help: "YAML or JSON file; stdin if left out.") var file: String?
  // The guide writes `-f FILE`, which in Teleport is --force followed by the file.
  @Flag(name: .shortAndLong, help: "Replace what exists already.") var force = false
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    try await connection.withClient { client in
      // All documents are checked before the first is applied.
      for resource in try ResourceFile.read(file) {
        let answer = try await client.put(resource, force ? .any : .absent)
        print(type(of: resource).notice(answer))
        if !answer.replaced, let step = resource.nextStep { print(Terminal.safe(step)) }
      }
    }
  }
}

extension ToolResource {
  /// What is said when one has been written.
  static func notice(_ answer: ResourceResponse) -> String {
    let what = onlyName == nil ? "\(kind) '\(answer.name)'" : kind.replacing("_", with: " ")
    return Terminal.safe("\(what) has been \(answer.replaced ? "updated" : "created")")
  }
}

/// `tctl get`.
struct Get: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Print resources, as 'tctl create' takes them.",
    discussion: "Kinds: \(ResourceKinds.list), also in the plural; 'all' is all of them.")

  @Argument(help: "KIND or KIND/NAME, several with commas between, or 'all'.") var resource: String
  @Option(help: "yaml, json, or text for an overview.") var format = OutputFormat.yaml
  @Flag(help: "Show the whole hash of join tokens: whoever has it can enter the token elsewhere, not join with it.")
  var withSecrets = false
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    try await connection.withClient { client in
      var found: [any ToolResource] = []
      if resource == "all" {
        for kind in ResourceKinds.all { found += try await client.list(kind, withSecrets: withSecrets) }
      } else {
        for text in resource.split(separator: ",").map(String.init) {
          let reference = try ResourceReference(text)
          if reference.name != nil {
            found.append(try await client.find(reference, withSecrets: withSecrets))
          } else {
            found += try await client.list(reference.kind, withSecrets: withSecrets)
          }
        }
      }
      guard format == .text else {
        // Nothing is an empty list in JSON and no document in YAML.
        if format == .json || !found.isEmpty { print(try ResourceFile.text(found, format)) }
        return
      }
      for kind in ResourceKinds.all {
        let rows = found.filter { type(of: $0) == kind }.map(\.row)
        if !rows.isEmpty { print(Terminal.table(kind.columns, rows)) }
      }
    }
  }
}

/// `tctl rm`.
struct Remove: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rm", abstract: "Remove a resource.",
    discussion: "Kinds: \(ResourceKinds.list); removing cap, the cluster_auth_preference, brings its default back.")

  @Argument(help: "KIND/NAME.") var resource: String
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    try await connection.withClient { client in
      let reference = try ResourceReference(resource)
      let name = try reference.requireName()
      try await client.remove(reference.kind, name)
      print(
        Terminal.safe(
          reference.kind.onlyName == nil
            ? "\(reference.kind.kind) '\(name)' has been deleted" : "\(reference.kind.kind) has been reset"))
    }
  }
}
