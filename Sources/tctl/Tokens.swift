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
    @Option(help: "Services it is for: db, proxy, node...") var type: String
    @Option(help: "How long it is valid, such as 30m or 1h.") var ttl = "30m"
    @Option(help: "text prints the bare token; json, yaml.") var format: OutputFormat?
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        guard let seconds = GoDuration(ttl)?.seconds, seconds > 0 else {
          throw ToolError("'\(ttl)' is not a duration", hint: "write for example 30m or 1h")
        }
        let request = TokenRequest(roles: Users.list(type) ?? [], ttlSeconds: seconds)
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
    static let configuration = CommandConfiguration(commandName: "rm", abstract: "Remove a token by its hash or text.")
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
