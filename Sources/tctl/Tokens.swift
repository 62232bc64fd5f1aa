import AccessControl
import ArgumentParser
import ControlAPI
import ControlClient
import Foundation

/// `tctl tokens ...`.
struct Tokens: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Join tokens.", subcommands: [Add.self, List.self, Remove.self])

  struct Add: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Make a token that lets a service join the cluster.")
    @Option(help: "Services it is for: db, proxy, discovery, node...") var type: String
    @Option(help: "How long it is valid, such as 30m or 1h; 30m, or until it is removed with method iam.")
    var ttl: String?
    @OptionGroup var identity: IAMTokenOptions
    @Option(help: "text prints the bare token; json, yaml.") var format: OutputFormat?
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        let seconds = try Self.seconds(ttl)
        if identity.joinMethod == .iam {
          return try await identity.add(roles: Users.list(type) ?? [], ttlSeconds: seconds, format, client)
        }
        try identity.refuseWithoutMethod()
        let ttl = ttl ?? "30m"
        let request = TokenRequest(roles: Users.list(type) ?? [], ttlSeconds: seconds ?? 1800)
        let token: TokenListing = try await client.post("/v1/tokens", request)
        switch format {
        case .text: print(token.token ?? "")
        case .json, .yaml: print(try Terminal.formatted(token, format ?? .json))
        case nil:
          let status: ClusterStatus = try await client.get("/v1/status")
          print("The invite token: \(token.token ?? "")\nThis token will expire in \(ttl).\n")
          for pin in status.caPins { print("CA pin: \(pin)\n") }
          print(
            "Use it on the host that shall join:\n\n  teleport db configure create --token=TOKEN_OR_FILE ... -o file\n  teleport start\n"
          )
        }
      }
    }

    private static func seconds(_ text: String?) throws -> Int? {
      guard let text else { return nil }
      guard let seconds = GoDuration(text)?.seconds, seconds > 0 else {
        throw ToolError("'\(text)' is not a duration", hint: "write for example 30m or 1h")
      }
      return seconds
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "ls", abstract: "List tokens; their text is stored nowhere.")
    @Option(help: "text, json or yaml.") var format = OutputFormat.text
    @Flag(help: "Show the whole hash of each token, by which 'tctl create' can make it elsewhere.")
    var withSecrets = false
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        let tokens = try await client.list(TokenResource.self, withSecrets: withSecrets)
        guard format == .text else { return print(try ResourceFile.text(tokens, format)) }
        print(Terminal.table(TokenResource.columns, tokens.map(\.row)))
      }
    }
  }

  struct Remove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "rm", abstract: "Remove a token by its hash, text or name.")
    @Argument(help: "As 'tctl tokens ls' shows it, or the token itself.") var token: String
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        try await client.remove(TokenResource.self, token)
        print("Token has been deleted")
      }
    }
  }
}
