import AccessControl
import ArgumentParser
import ControlAPI
import ControlClient
import Foundation

/// `tctl lock`.
struct LockCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lock", abstract: "Shut a user, a role, a database or a host out and end the running sessions.")

  @Option(help: "Name of a user.") var user: String?
  @Option(help: "Name of a role: all who hold it.") var role: String?
  @Option(help: "Name of a database; of several targets, only what fits them all is locked.") var db: String?
  @Option(name: .customLong("server-id"), help: "ID of a host, as 'tctl inventory ls' shows it.") var serverID: String?
  @Option(help: "Shown to who is shut out.") var message: String?
  @Option(help: "How long the lock is in force, such as 30m or 10h; without it until 'tctl rm lock/NAME'.")
  var ttl: String?
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    try await connection.withClient { client in
      let expires = try ttl.map { text in
        guard let seconds = GoDuration(text)?.seconds, seconds > 0 else {
          throw ToolError("'\(text)' is not a duration", hint: "write for example 30m or 10h")
        }
        return Date() + Double(seconds)
      }
      let name = UUID().uuidString.lowercased()
      let target = Lock.Target(user: user, role: role, db: db, serverID: serverID)
      let lock = Lock(name: name, spec: .init(target: target, message: message, expires: expires))
      do {
        try lock.validate()
      } catch let error as RoleError {
        throw ToolError(error.description, hint: "use --user, --role, --db or --server-id")
      }
      _ = try await client.put(lock, .absent)
      print("Created a lock with name \"\(name)\".")
    }
  }
}
