import AccessControl
import ArgumentParser
import ControlAPI
import ControlClient
import Foundation
import PKI

extension Auth {
  /// `tctl auth sign`.
  struct Sign: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make a certificate for a database's server, or an identity for a program.")

    enum Format: String, ExpressibleByArgument, CaseIterable { case db, file, tls }

    @Option(help: "db: for a PostgreSQL server; file, tls: an identity in one file, or as certificate, key and CA.")
    var format = Format.file
    @Option(help: "With --format=db: names and addresses that the server is dialled by, comma-separated.")
    var host: String?
    @Option(help: "With --format=file or tls: whom the identity speaks for.") var user: String?
    @Option(name: .shortAndLong, help: "Where to write: OUT, or OUT.crt, OUT.key and OUT.cas.") var out: String
    @Option(help: "How long it is good for; default 2190h for db, else 12h.") var ttl: String?
    @Flag(help: "Replace files that are there.") var overwrite = false
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      try await connection.withClient { client in
        let duration = ttl ?? (format == .db ? "2190h" : "12h")
        guard let seconds = GoDuration(duration)?.seconds, seconds > 0 else {
          throw ToolError("'\(duration)' is not a duration", hint: "write for example 30m or 2190h")
        }
        let files = format == .file ? [out] : [".crt", ".key", ".cas"].map { out + $0 }
        if !overwrite, let there = files.first(where: FileManager.default.fileExists) {
          throw ToolError("\(there) exists already", hint: "use --overwrite to replace it")
        }
        do {
          if format == .db {
            try await signServer(client, seconds)
          } else {
            try await signUser(client, seconds)
          }
        } catch let error as PKIError {
          throw ToolError(error.description)
        }
      }
    }

    private func signServer(_ client: APIClient, _ seconds: Int) async throws {
      guard user == nil, let names = Users.list(host), let first = names.first else {
        throw ToolError("--format=db needs --host, and no --user", hint: "name what the server is dialled by")
      }
      let key = KeyPair.generate()
      let signed: SignedCertificate = try await client.post(
        "/v1/certificates/database-server",
        DatabaseServerCertificateRequest(
          names: names, ttlSeconds: seconds, signingRequestPEM: try key.signingRequestPEM(commonName: first)))
      try write(signed, key)
      print(
        """
        Wrote \(out).crt, \(out).key and \(out).cas, good until \(signed.validUntil.formatted(.iso8601)).

        Give them to the user that PostgreSQL runs as, and set in its postgresql.conf:

        ssl = on
        ssl_cert_file = '\(path(".crt"))'
        ssl_key_file = '\(path(".key"))'
        ssl_ca_file = '\(path(".cas"))'

        and in its pg_hba.conf, for the Database Service's addresses:

        hostssl all all ::/0 cert
        hostssl all all 0.0.0.0/0 cert
        """)
    }

    private func signUser(_ client: APIClient, _ seconds: Int) async throws {
      guard host == nil, let user else {
        throw ToolError("--format=\(format.rawValue) needs --user, and no --host", hint: "name whom it speaks for")
      }
      let key = KeyPair.generate()
      let signed: SignedCertificate = try await client.post(
        "/v1/certificates/user",
        UserCertificateRequest(
          username: user, ttlSeconds: seconds, signingRequestPEM: try key.signingRequestPEM(commonName: user)))
      if format == .tls {
        try write(signed, key)
      } else {
        let identity = ClientIdentity(certificatePEM: signed.certificatePEM, keyPEM: key.pem)
        try IdentityFile(identity: identity, hostCAPEM: signed.trustedPEMs.joined()).write(
          to: out, overwrite: overwrite)
      }
      print(
        "Wrote \(format == .tls ? "\(out).crt, \(out).key and \(out).cas" : out), good until "
          + "\(signed.validUntil.formatted(.iso8601)).")
    }

    private func write(_ signed: SignedCertificate, _ key: KeyPair) throws {
      try PrivateFile.write(key.pem, to: out + ".key")
      try PrivateFile.write(signed.certificatePEM, to: out + ".crt")
      try PrivateFile.write(signed.trustedPEMs.joined(), to: out + ".cas")
    }

    /// As a configuration file wants it.
    private func path(_ suffix: String) -> String {
      URL(fileURLWithPath: out + suffix).path
    }
  }
}
