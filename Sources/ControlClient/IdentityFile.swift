import ControlAPI
import Foundation
import PKI
import Secrets

/// A login in one PEM file (`tsh login --out`): the key, the user's certificate, the CA to trust the cluster by.
public struct IdentityFile: Sendable {
  public let identity: ClientIdentity
  public let hostCAPEM: String

  public init(identity: ClientIdentity, hostCAPEM: String) {
    self.identity = identity
    self.hostCAPEM = hostCAPEM
  }

  /// Reads a file that nobody but its owner may be able to read.
  public init(path: String) throws {
    let text: String
    do {
      text = try PrivateFile.read(path).revealText() ?? ""
    } catch {
      throw ToolError("the identity file cannot be used: \(error)")
    }
    var keys: [String] = []
    var certificates: [String] = []
    for block in Self.blocks(in: text) {
      if block.hasPrefix("-----BEGIN CERTIFICATE-----") { certificates.append(block) } else { keys.append(block) }
    }
    guard keys.count == 1, let key = keys.first, let own = certificates.first, certificates.count >= 2 else {
      throw ToolError(
        "\(path) is not an identity file: it needs one private key, a certificate and a CA certificate",
        hint: "make one with: tsh login --out=FILE")
    }
    identity = ClientIdentity(certificatePEM: own, keyPEM: Secret(utf8: key))
    hostCAPEM = certificates.dropFirst().joined()
  }

  /// Writes it for its owner alone.
  ///
  /// - Parameter overwrite: replace a file that is there.
  public func write(to path: String, overwrite: Bool) throws {
    guard overwrite || !FileManager.default.fileExists(atPath: path) else {
      throw ToolError("\(path) exists already", hint: "use --overwrite to replace it")
    }
    let key = identity.keyPEM.revealText() ?? ""
    let parts = [key, identity.certificatePEM, hostCAPEM].map { $0.hasSuffix("\n") ? $0 : $0 + "\n" }
    do {
      try PrivateFile.write(Secret(utf8: parts.joined()), to: path)
    } catch let error as PKIError {
      throw ToolError(error.description)
    }
  }

  private static func blocks(in text: String) -> [String] {
    var blocks: [String] = []
    var current: String?
    for line in text.split(whereSeparator: \.isNewline) {
      if line.hasPrefix("-----BEGIN ") { current = "" }
      current?.append(line + "\n")
      if line.hasPrefix("-----END "), let block = current {
        blocks.append(block)
        current = nil
      }
    }
    return blocks
  }
}
