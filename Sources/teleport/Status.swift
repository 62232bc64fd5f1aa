import ArgumentParser
import ConfigurationFile
import Foundation

/// `teleport status`: whether the server runs on this host.
struct Status: ParsableCommand {
  enum Format: String, ExpressibleByArgument { case text, json }

  static let configuration = CommandConfiguration(
    abstract: "Show whether the server runs on this host, and what it serves.",
    discussion: "Ends with exit code 1 if it does not run.")

  @Option(name: [.short, .long], help: "Configuration file; default: TELEPORT_CONFIG_FILE, /etc/teleport.yaml.")
  var config: String?
  @Option(help: "Directory of the state; overrides the configuration.") var dataDir: String?
  @Option(name: .shortAndLong, help: "text or json.") var format = Format.text

  func run() throws {
    let path = TeleportConfiguration.path(explicit: config, environment: ProcessInfo.processInfo.environment)
    let directory: String
    do {
      directory = try dataDir ?? TeleportConfiguration.load(path: path).dataDirectory
    } catch let error as ConfigurationError {
      throw Failure(error.description)
    }
    guard let process = try ProcessRecord.running(in: directory) else {
      throw Failure("teleport does not run with data directory \(directory); start it with 'teleport start'")
    }
    if format == .json {
      return print(String(decoding: try ProcessRecord.encoder.encode(process), as: UTF8.self))
    }
    let rows = [
      ("Status", process.stage), ("PID", "\(process.pid)"), ("Version", process.version),
      ("Services", process.services.joined(separator: ", ")), ("Listening on", process.listen.joined(separator: ", ")),
      ("Diagnostics", process.diagAddress ?? "off"), ("Configuration", process.configuration ?? "built-in defaults"),
      ("Data directory", directory),
      ("Running since", "\(process.started.formatted(.iso8601)) (\(Self.age(since: process.started)))"),
    ]
    for (name, value) in rows { print(name.padding(toLength: 16, withPad: " ", startingAt: 0) + value) }
  }

  /// `3d 4h`, `12m 5s`: the two largest units.
  private static func age(since start: Date) -> String {
    let seconds = max(0, Int(Date().timeIntervalSince(start)))
    let parts = [("d", seconds / 86_400), ("h", seconds / 3600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)]
    return parts.drop { $0.1 == 0 && $0.0 != "s" }.prefix(2).map { "\($0.1)\($0.0)" }.joined(separator: " ")
  }
}
