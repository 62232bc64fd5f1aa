import AccessControl
import ArgumentParser
import ControlAPI
import ControlClient
import Foundation

/// `tctl users ...`.
struct Users: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Users.", subcommands: [Add.self, List.self, Update.self, Reset.self, Remove.self])

  /// A comma-separated list; `nil` if the option was not given.
  static func list(_ text: String?) -> [String]? {
    text.map { $0.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty } }
  }

  static func traits(users: String?, names: String?) -> [String: [String]] {
    var traits: [String: [String]] = [:]
    if let users = list(users) { traits["db_users"] = users }
    if let names = list(names) { traits["db_names"] = names }
    return traits
  }

  /// How a link to sign up with is asked for and shown.
  struct LinkOptions: ParsableArguments {
    @Option(help: "How long the link is good for, at most 48h.") var ttl = "1h"
    @Option(help: "text, json or yaml.") var format = OutputFormat.text

    /// The path of a route that makes a link, with its life.
    func path(_ path: String) throws -> String {
      guard let seconds = GoDuration(ttl)?.seconds, Invite.lifetimes.contains(seconds) else {
        throw ToolError("--ttl '\(ttl)' is not a duration from 1m to 48h", hint: "write for example 30m or 10h")
      }
      return "\(path)?ttl=\(seconds)"
    }

    func show(_ invite: Invite, _ verb: String) throws {
      guard format == .text else { return print(try Terminal.formatted(invite, format)) }
      print(
        "User \"\(invite.user)\" has been \(verb). Share this URL with the user to sign up, valid for \(ttl):")
      print(Terminal.safe(invite.url))
      print("It opens in a browser, and in a terminal with 'tsh signup URL'.")
    }
  }
}

extension Users {
  struct Add: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Add a user and print a sign-up link.")
    @Argument(help: "User name.") var name: String
    @Option(help: "Roles, comma-separated.") var roles: String
    @Option(help: "Database users for {{internal.db_users}}.") var dbUsers: String?
    @Option(help: "Database names for {{internal.db_names}}.") var dbNames: String?
    @OptionGroup var link: LinkOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      let user = UserListing(
        name: name, roles: Users.list(roles) ?? [], traits: Users.traits(users: dbUsers, names: dbNames))
      try await connection.withClient { client in
        try link.show(try await client.post(try link.path("/v1/users"), user), "created")
      }
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "ls", abstract: "List users.")
    @Option(help: "text, json or yaml.") var format = OutputFormat.text
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        let users = try await client.list(UserResource.self)
        guard format == .text else { return print(try ResourceFile.text(users, format)) }
        print(Terminal.table(UserResource.columns, users.map(\.row)))
      }
    }
  }

  struct Update: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Change a user's roles or traits.")
    @Argument(help: "User name.") var name: String
    @Option(help: "All roles the user shall have, comma-separated.") var setRoles: String?
    @Option(help: "Replaces the database users trait.") var setDbUsers: String?
    @Option(help: "Replaces the database names trait.") var setDbNames: String?
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      let traits = Users.traits(users: setDbUsers, names: setDbNames)
      let update = UserUpdate(roles: Users.list(setRoles), traits: traits.isEmpty ? nil : traits)
      try await connection.withClient { client in
        guard update.roles != nil || update.traits != nil else {
          throw ToolError("nothing to change", hint: "use --set-roles, --set-db-users or --set-db-names")
        }
        let user: UserListing = try await client.put("/v1/users/\(APIClient.segment(name))", update)
        print("User \(Terminal.safe(user.name)) has been updated:")
        var changes: [String] = []
        if update.roles != nil { changes.append("New roles: \(user.roles.joined(separator: ","))") }
        for (trait, name) in [("db_users", "database users"), ("db_names", "database names")]
        where traits[trait] != nil {
          changes.append("New \(name): \((user.traits[trait] ?? []).joined(separator: ","))")
        }
        for change in changes { print("\t" + Terminal.safe(change)) }
      }
    }
  }

  struct Reset: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Take a user's password and second factor away and print a link to set new ones.")
    @Argument(help: "User name.") var name: String
    @OptionGroup var link: LinkOptions
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        let none: [String: String] = [:]
        let path = try link.path("/v1/users/\(APIClient.segment(name))/reset")
        try link.show(try await client.post(path, none), "reset")
      }
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "rm", abstract: "Remove users.")
    @Argument(help: "User names, with commas between.") var names: String
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        for name in Users.list(names) ?? [] {
          try await client.remove(UserResource.self, name)
          print("User \"\(Terminal.safe(name))\" has been deleted")
        }
      }
    }
  }
}
