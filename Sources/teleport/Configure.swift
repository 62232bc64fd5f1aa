import ArgumentParser
import ConfigurationFile
import Foundation
import TextForms

/// `teleport configure`: a first configuration for a cluster.
struct Configure: ParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Write a configuration for a new cluster (auth and proxy).")

  @Option(help: "Name of the cluster.") var clusterName = "localhost"
  @Option(help: "HOST:PORT that clients dial.") var publicAddr = "localhost:3080"
  @Option(help: "Directory of the state.") var dataDir = "/var/lib/teleport"
  @Option(help: "Certificate chain for HTTPS.") var certFile: String?
  @Option(help: "Its private key.") var keyFile: String?
  @Option(name: .shortAndLong, help: "'file' (/etc/teleport.yaml), 'stdout' or a path.") var output = "stdout"

  func run() throws {
    guard (certFile == nil) == (keyFile == nil) else { throw Failure("--cert-file and --key-file go together") }
    guard let publicAddress = HostPort(publicAddr) else {
      throw Failure("--public-addr must be HOST:PORT or [IPv6]:PORT")
    }
    let text: String
    do {
      text = try configurationText(publicAddress)
      _ = try TeleportConfiguration(yaml: text, file: "the new configuration")
    } catch let error as ConfigurationError {
      throw Failure(error.description)
    }
    try OutputFile(output).write(text)
  }

  private func configurationText(_ publicAddress: HostPort) throws -> String {
    let quoted = ConfigurationWriter.quoted
    var text = """
      # Made by 'teleport configure'.
      version: v3
      teleport:
        data_dir: \(try quoted(dataDir))
      auth_service:
        enabled: "yes"
        cluster_name: \(try quoted(clusterName))
      proxy_service:
        enabled: "yes"
        web_listen_addr: "0.0.0.0:\(publicAddress.port)"
        public_addr: \(try quoted(publicAddress.description))

      """
    if let certFile, let keyFile {
      text += "  https_keypairs:\n    - cert_file: \(try quoted(certFile))\n      key_file: \(try quoted(keyFile))\n"
    }
    return text + "db_service:\n  enabled: \"no\"\n"
  }
}

/// Where `-o` points.
struct OutputFile {
  private let path: String?

  init(_ option: String) {
    switch option {
    case "stdout": path = nil
    case "file": path = "/etc/teleport.yaml"
    default: path = option.hasPrefix("file://") ? String(option.dropFirst(7)) : option
    }
  }

  /// Prints, or makes a new private file; one that is there is never overwritten.
  func write(_ text: String) throws {
    guard let path else {
      print(text, terminator: "")
      return
    }
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      let reason =
        errno == EEXIST
        ? "it exists already; remove it first or choose another with -o" : String(cString: strerror(errno))
      throw Failure("cannot write \(path): \(reason)")
    }
    try FileHandle(fileDescriptor: descriptor, closeOnDealloc: true).write(contentsOf: Data(text.utf8))
    print(
      "A Teleport configuration file has been created at \(path).\nStart the service with:\n\n  teleport start -c \(path)\n"
    )
  }
}
