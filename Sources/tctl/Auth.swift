import AccessControl
import ArgumentParser
import ControlAPI
import ControlClient
import Foundation

/// `tctl auth ...`.
struct Auth: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Certificate authorities.", subcommands: [Export.self, Rotate.self, Sign.self])

  struct Export: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print a CA's certificates.")
    @Option(help: "tls-user (or user), tls-host, db or db-client.") var type = "tls-host"
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      let kinds = [
        "tls-host": "host", "tls-user": "user", "user": "user", "host": "host", "db": "db", "db-client": "db_client",
      ]
      try await connection.withClient { client in
        guard let kind = kinds[type] else {
          throw ToolError("'\(type)' is no type of CA", hint: "use tls-user, tls-host, db or db-client")
        }
        print(try await client.getText("/v1/cas/\(kind)/export"), terminator: "")
      }
    }
  }

  struct Rotate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Replace certificate authorities, in phases.",
      subcommands: [Steps.self, StatusOfRotation.self], defaultSubcommand: Steps.self)
  }

  struct Steps: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "start", abstract: "Start a rotation, or take its next step.", shouldDisplay: false)
    @Option(help: "host, user, db, db_client or all.") var type = "all"
    @Flag(help: "Take each step by a command of its own; without it they come by themselves.") var manual = false
    @Option(help: "With --manual: init, update_clients, update_servers or standby; rollback always.") var phase: String?
    @Option(help: "How long an automatic rotation takes, such as 30h.") var gracePeriod = "30h"
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        guard let seconds = GoDuration(gracePeriod)?.seconds, seconds > 0 else {
          throw ToolError("'\(gracePeriod)' is not a duration", hint: "write for example 30m or 30h")
        }
        guard let phase = RotationPhase(rawValue: phase ?? RotationPhase.begun.rawValue) else {
          throw ToolError(
            "'\(phase ?? "")' is no phase",
            hint: "use \(RotationPhase.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        let kinds = type == "all" ? ["host", "user", "db", "db_client"] : [type]
        let request = RotationRequest(kinds: kinds, phase: phase, isManual: manual, graceSeconds: seconds)
        let answer: [AuthorityStatus] = try await client.post("/v1/cas/rotate", request)
        for authority in answer where kinds.contains(authority.kind) { print(authority.line) }
      }
    }
  }

  struct StatusOfRotation: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "status", abstract: "Show how far rotations are.")
    @Option(help: "text, json or yaml.") var format = OutputFormat.text
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        let status: ClusterStatus = try await client.get("/v1/status")
        guard format == .text else { return print(try Terminal.formatted(status.authorities, format)) }
        for authority in status.authorities { print(authority.line) }
      }
    }
  }
}

extension AuthorityStatus {
  /// One line of `tctl status`.
  var line: String {
    let dates = ISO8601DateFormatter()
    let name = Terminal.safe(kind) + " CA"
    func text(_ date: Date?) -> String { date.map(dates.string) ?? "" }
    switch phase {
    case .standby: return "\(name): " + (lastRotated == nil ? "never rotated" : "rotated \(text(lastRotated))")
    default:
      let mode = isManual ? "manual" : "automatic, next phase \(text(nextPhase))"
      return "\(name): rotation in phase \(phase.rawValue) since \(text(since)) (\(mode))"
    }
  }
}
