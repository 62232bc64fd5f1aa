import AccessControl
import Foundation
import TextForms

/// What proves that a host may join.
public enum JoinMethod: String, Sendable {
  /// The token, which is a secret.
  case token
  /// The host's AWS identity, which the token names.
  case iam
}

/// The part of teleport.yaml that makes several hosts one cluster: how a host finds it, and how the Auth Service is
/// found.
public struct MembershipConfiguration: Sendable, Equatable {
  /// HOST:PORT of proxies or Auth Services, for hosts without an Auth Service of their own: the first that answers is
  /// used.
  public var servers: [String] = []
  /// `sha256:...` of the host CA.
  public var caPins: [String] = []
  /// Where the Auth Service listens if it shares its process with no proxy, or is told to.
  public var authListenAddress: String?
  /// Names and addresses, without port, that it is dialled by.
  public var authPublicNames: [String] = []
  /// Join tokens of the configuration and the services each is for.
  public var staticTokens: [StaticToken] = []
  /// How long a host's certificate is good for.
  public var hostCertificateTTL = GoDuration("168h")

  /// A join token that stands in the configuration, or in a file that it names.
  public struct StaticToken: Sendable, Equatable {
    public let services: Set<String>
    public let token: String
  }

  public static let defaultAuthPort = 3025

  public init() {}

  mutating func readCommon(_ section: YAMLSection) throws {
    for key in ["proxy_server", "auth_server", "auth_servers"] {
      let named = try section.strings(key)
      guard named.allSatisfy({ HostPort($0) != nil }) else {
        throw section.complaint(key, "must be HOST:PORT, or a list of such")
      }
      servers += named
    }
    caPins = try section.strings("ca_pin")
    let digits = Set("0123456789abcdef")
    for pin in caPins {
      let hex = pin.hasPrefix("sha256:") ? pin.dropFirst(7) : ""
      guard hex.count == 64, hex.allSatisfy(digits.contains) else {
        throw section.complaint("ca_pin", "must be 'sha256:' and 64 hex digits, as 'tctl status' prints it")
      }
    }
  }

  mutating func readAuth(_ section: YAMLSection) throws {
    authListenAddress = try section.string("listen_addr")
    authPublicNames = try section.strings("public_addr").map { text in
      guard let address = HostPort(text, defaultPort: UInt16(Self.defaultAuthPort)) else {
        throw section.complaint("public_addr", "must be HOST, HOST:PORT or [IPv6]:PORT")
      }
      return address.host
    }
    staticTokens = try section.strings("tokens").map { text in
      guard let colon = text.firstIndex(of: ":"), colon != text.startIndex else {
        throw section.complaint("tokens", "must be SERVICE[,SERVICE]:TOKEN, or a file's path in place of TOKEN")
      }
      let services = Set(text[..<colon].lowercased().split(separator: ",").map(String.init))
      guard services.isSubset(of: ["db", "proxy", "discovery", "node"]) else {
        throw section.complaint("tokens", "has services other than db, proxy, discovery and node")
      }
      let token = try Self.token(String(text[text.index(after: colon)...]))
      guard token.utf8.count >= 16 else {
        throw section.complaint("tokens", "has a token of less than 16 bytes, which can be guessed")
      }
      return StaticToken(services: services, token: token)
    }
    if let text = try section.string("host_certificate_ttl") {
      guard let ttl = GoDuration(text), (10...30 * 86_400).contains(ttl.seconds) else {
        throw section.complaint("host_certificate_ttl", "must be a duration from 10s to 720h")
      }
      hostCertificateTTL = ttl
    }
  }

  /// A token as it stands in the configuration: itself, or the path of a file that holds it.
  public static func token(_ text: String) throws -> String {
    guard text.hasPrefix("/") else { return text }
    guard let data = FileManager.default.contents(atPath: text), data.count <= 4096 else {
      throw ConfigurationError("the token file \(text) cannot be read")
    }
    return String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
  }
}

extension TeleportConfiguration {
  /// HOST:PORT that clients dial the proxy by.
  public var publicAddress: String {
    if let first = publicAddresses.first { return first }
    return "localhost:\(HostPort(webListenAddress)?.port ?? 3080)"
  }

  /// Where the Auth Service of this host is reached from this host, HOST:PORT.
  public var localAddress: String {
    let listening =
      isProxyEnabled
      ? webListenAddress : membership.authListenAddress ?? "0.0.0.0:\(MembershipConfiguration.defaultAuthPort)"
    guard let address = HostPort(listening), !Self.wildcards.contains(address.host) else {
      return "localhost:\(HostPort(listening)?.port ?? 3080)"
    }
    return address.description
  }

  /// Addresses that mean all of a host's: nobody dials them.
  private static let wildcards: Set<String> = ["0.0.0.0", "::"]

  /// Names and addresses that others may dial this host by.
  public var hostNames: [String] {
    let listening = [webListenAddress, postgresListenAddress, membership.authListenAddress].compactMap { $0 }
    var names = publicAddresses.compactMap { HostPort($0)?.host } + membership.authPublicNames
    names += listening.compactMap { HostPort($0)?.host }.filter { !Self.wildcards.contains($0) }
    names += [nodename, "localhost", "127.0.0.1", "::1"]
    var seen = Set<String>()
    return names.filter { !$0.isEmpty && seen.insert($0).inserted }
  }

  /// The private socket of the API.
  public var socketPath: String { dataDirectory + "/run/api.sock" }

  /// How many reactors to run.
  public var reactors: Int { reactorCount ?? ProcessInfo.processInfo.activeProcessorCount }

  /// The enabled services, as `--roles` names them.
  public var serviceNames: [String] {
    [
      (isAuthEnabled, "auth"), (isProxyEnabled, "proxy"), (isDatabaseEnabled, "db"), (discovery.isEnabled, "discovery"),
    ].filter(\.0).map(\.1)
  }
}
