import ControlAPI
import Foundation

/// How `tctl sessions ls` and `tsh sessions ls` show the database sessions that run now.
public enum SessionTable {
  public static func show(_ answer: SessionListings, _ format: OutputFormat) throws {
    if format == .text {
      print(
        Terminal.table(
          ["ID", "User", "Database", "Database User", "Database Name", "Started", "Client", "Host"],
          answer.sessions.map {
            [$0.id, $0.user, $0.database, $0.databaseUser, $0.databaseName, $0.started, $0.clientAddress, $0.host]
          }))
    } else {
      print(try Terminal.formatted(answer.sessions, format))
    }
    guard answer.total > answer.sessions.count else { return }
    FileHandle.standardError.write(
      Data("Showing the oldest \(answer.sessions.count) of \(answer.total) sessions.\n".utf8))
  }
}
