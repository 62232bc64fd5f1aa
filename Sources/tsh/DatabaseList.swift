import ArgumentParser
import ControlAPI
import ControlClient
import Foundation
import ResourceFilter

/// Which of the databases a command is about.
struct DatabaseFilter: ParsableArguments {
  @Option(help: "Only databases whose name, description or labels contain these words.") var search: String?
  @Option(help: "Only databases for which this holds, for example: labels[\"env\"] == \"dev\" && name != \"x\".")
  var query: String?

  /// The databases of `listings` that pass, by label too where `labels` are given.
  func apply(_ listings: [DatabaseListing], labels: String?) throws -> [DatabaseListing] {
    let (predicate, selector) = try read(labels)
    let words = search.map(searchWords) ?? []
    return listings.filter { listing in
      let resource = FilteredResource(
        name: listing.name, description: listing.description, protocol: listing.protocol, uri: listing.uri,
        labels: listing.labels)
      return resource.contains(words) && predicate?.matches(resource) ?? true
        && selector?.matches(listing.labels) ?? true
    }
  }

  private func read(_ labels: String?) throws -> (ResourcePredicate?, LabelSelector?) {
    do {
      return (try query.map { try ResourcePredicate($0) }, try labels.map { try LabelSelector($0) })
    } catch {
      throw ToolError("the filter cannot be read: \(error)", hint: "see docs/tsh.md for the query language")
    }
  }
}

struct DatabaseList: AsyncParsableCommand {
  static let configuration = CommandConfiguration(commandName: "ls", abstract: "List the databases you can reach.")

  @Argument(help: "Only databases with these labels, as env=dev,team=a.") var labels: String?
  @OptionGroup var filter: DatabaseFilter
  @Option(name: .shortAndLong, help: "text, json or yaml.") var format = OutputFormat.text
  @Flag(name: .shortAndLong, help: "Show protocol, address and allowed database names too.") var verbose = false
  @Flag(name: [.customShort("R"), .customLong("all")], help: "Databases of all clusters you are logged in to.")
  var all = false
  @OptionGroup var common: CommonOptions

  private struct Resource: Encodable {
    struct Metadata: Encodable {
      let name: String
      let description: String
      let labels: [String: String]
    }
    struct Spec: Encodable {
      let `protocol`: String
      let uri: String
    }
    struct Users: Encodable { let allowed: [String] }
    let kind = "db"
    let version = "v3"
    let proxy: String?
    let cluster: String?
    let metadata: Metadata
    let spec: Spec
    let users: Users

    init(_ row: Row, isNamed: Bool) {
      proxy = isNamed ? row.profile.proxy : nil
      cluster = isNamed ? row.profile.cluster : nil
      metadata = .init(name: row.listing.name, description: row.listing.description, labels: row.listing.labels)
      spec = .init(protocol: row.listing.protocol, uri: row.listing.uri)
      users = .init(allowed: row.listing.allowedUsers)
    }
  }

  private struct Row {
    let profile: Profile
    let listing: DatabaseListing
    let stored: StoredDatabase?
  }

  func run() async throws {
    try await runTool {
      var rows: [Row] = []
      for credentials in try logins() {
        let stored = try DatabaseAccess.stored(credentials.profile)
        let listings = try await DatabaseAccess.list(credentials, insecure: common.insecure)
        rows += try filter.apply(listings, labels: labels).map { listing in
          Row(profile: credentials.profile, listing: listing, stored: stored.first { $0.name == listing.name })
        }
      }
      guard format == .text else {
        return print(try Terminal.formatted(rows.map { Resource($0, isNamed: all) }, format))
      }
      print(table(rows))
    }
  }

  /// The login in use, or every one that is still good.
  private func logins() throws -> [Credentials] {
    let own = try common.credentials()
    guard all, !own.isIdentityFile else { return [own] }
    let store = ProfileStore()
    return try [own]
      + store.all().filter { $0.name != own.profile.name && $0.validUntil > Date() }
      .map { try Credentials(stored: store, proxy: $0.proxy, user: nil) }
  }

  private func table(_ rows: [Row]) -> String {
    typealias Column = (title: String, value: (Row) -> String)
    var columns: [Column] = []
    if all { columns += [("Proxy", { $0.profile.proxy }), ("Cluster", { $0.profile.cluster })] }
    columns += [
      ("Name", { ($0.stored == nil ? "" : "> ") + $0.listing.name }), ("Description", { $0.listing.description }),
    ]
    if verbose { columns += [("Protocol", { $0.listing.protocol }), ("URI", { $0.listing.uri })] }
    columns.append(("Allowed Users", { "[\($0.listing.allowedUsers.joined(separator: " "))]" }))
    if verbose { columns.append(("Allowed Names", { "[\($0.listing.allowedNames.joined(separator: " "))]" })) }
    columns += [
      (
        "Labels",
        { $0.listing.labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",") }
      ),
      ("Connect", { $0.stored.map { "tsh db connect \($0.name)" } ?? "" }),
    ]
    return Terminal.table(columns.map(\.title), rows.map { row in columns.map { $0.value(row) } })
  }
}
