import AccessControl
import Foundation

/// A join token (`kind: token`, `version: v2`).
///
/// `metadata.name` is the token itself where a file makes one; the cluster keeps its hash only, so what it shows is the
/// beginning of the hash, or all of it (`sha256:HEX`) to those who may have secrets. All three forms can be read back. The
/// name of a token of method `iam` is no secret: `spec.allow` says who may join.
public struct TokenResource: ClusterResource {
  public static let kind = "token"

  public struct Metadata: Codable, Sendable, NamingMetadata {
    public var name: String
    /// When it stops working, as in `2025-01-31T12:00:00Z`; one of method `iam` may do without.
    public var expires: String?
    public var revision: String?

    public init(from decoder: any Decoder) throws {
      try RoleKeys(
        enforced: ["name", "expires", "revision"], foreign: ["id"],
        unenforced: ["namespace": ["default", ""], "labels": [], "description": [""]]
      ).check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      name = try values.decode(String.self, forKey: .name)
      expires = try values.decodeIfPresent(String.self, forKey: .expires)
      revision = try values.decodeIfPresent(String.self, forKey: .revision)
    }

    public init(name: String, expires: Date?) {
      self.name = name
      self.expires = expires?.formatted(.iso8601)
    }
  }

  public struct Spec: Codable, Sendable {
    /// Services that may join with it: `Db`, `Proxy`, `Node`; the case of letters does not matter.
    public var roles: [String]
    /// `token` or `iam`.
    public var joinMethod: String
    /// Of method `iam`: one of them has to fit.
    public var allow: [AWSJoinRule]?

    enum CodingKeys: String, CodingKey {
      case roles, allow
      case joinMethod = "join_method"
    }

    /// - Parameter allow: makes it a token of method `iam`.
    public init(roles: [String], allow: [AWSJoinRule]? = nil) {
      self.roles = roles
      self.allow = allow
      joinMethod = allow == nil ? "token" : "iam"
    }

    public init(from decoder: any Decoder) throws {
      try RoleKeys(
        enforced: ["roles", "join_method", "allow"],
        unenforced: ["bot_name": [""], "suggested_labels": [], "suggested_agent_matcher_labels": []]
      ).check(decoder)
      let values = try decoder.container(keyedBy: CodingKeys.self)
      roles = try values.decode([String].self, forKey: .roles).map { $0.lowercased() }
      joinMethod = try values.decodeIfPresent(String.self, forKey: .joinMethod) ?? "token"
      allow = try values.decodeIfPresent([AWSJoinRule].self, forKey: .allow)
    }
  }

  public var kind: String
  public var version: String
  public var metadata: Metadata
  public var spec: Spec

  public init(name: String, expires: Date?, spec: Spec) {
    (kind, version) = (Self.kind, "v2")
    metadata = Metadata(name: name, expires: expires)
    self.spec = spec
  }

  public init(from decoder: any Decoder) throws {
    try RoleKeys.resource.check(decoder)
    let values = try decoder.container(keyedBy: CodingKeys.self)
    kind = try values.decode(String.self, forKey: .kind)
    version = try values.decodeIfPresent(String.self, forKey: .version) ?? "v2"
    metadata = try values.decode(Metadata.self, forKey: .metadata)
    spec = try values.decode(Spec.self, forKey: .spec)
    try validate()
  }

  public var expires: Date? { metadata.expires.flatMap { try? Date($0, strategy: .iso8601) } }

  public func validate() throws {
    try checkHeader(kind, version, allowed: "v2")
    if let text = metadata.expires, expires == nil {
      throw RoleError("expires '\(text)' is not a time; write 2025-01-31T12:00:00Z", at: ["metadata", "expires"])
    }
    switch spec.joinMethod {
    case "token": try validateSecret()
    case "iam":
      guard Role.isValidName(name) else { throw RoleError("the token's name is not valid", at: ["metadata", "name"]) }
      guard spec.allow?.isEmpty == false else {
        throw RoleError("a token of method iam needs allow: who may join", at: ["spec"])
      }
    default:
      throw RoleError(
        "join_method '\(spec.joinMethod)' is not supported; use token or iam", at: ["spec", "join_method"])
    }
    guard !spec.roles.isEmpty else { throw RoleError("a token needs a service at least", at: ["spec", "roles"]) }
  }

  private func validateSecret() throws {
    guard TokenName(name) != nil else {
      // Never the name itself: it is the secret.
      throw RoleError(
        "a token has \(TokenName.lengths.lowerBound) to \(TokenName.lengths.upperBound) bytes, letters, digits and punctuation without blanks, so that it cannot be guessed",
        at: ["metadata", "name"])
    }
    guard metadata.expires != nil else {
      throw RoleError("a token needs an end; write for example expires: 2030-01-31T12:00:00Z", at: ["metadata"])
    }
    guard spec.allow == nil else {
      throw RoleError("allow is for join_method iam: this token is a secret that lets in who has it", at: ["spec"])
    }
  }
}

/// The three things that `metadata.name` of a token may be.
public enum TokenName: Sendable, Equatable {
  case token(String)
  /// SHA-256 of the token, lower-case hex.
  case hash(String)
  /// The beginning of the hash.
  case id(String)

  public static let lengths = 16...512
  public static let idLength = 12
  public static let hashPrefix = "sha256:"

  /// `nil` if it is none of them.
  public init?(_ name: String) {
    let digits = Set("0123456789abcdef".utf8)
    let rest = name.hasPrefix(Self.hashPrefix) ? String(name.dropFirst(Self.hashPrefix.count)) : nil
    if let rest {
      guard rest.utf8.count == 64, rest.utf8.allSatisfy(digits.contains) else { return nil }
      self = .hash(rest)
    } else if name.utf8.count == Self.idLength, name.utf8.allSatisfy(digits.contains) {
      self = .id(name)
    } else {
      guard Self.lengths.contains(name.utf8.count), name.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
        return nil
      }
      self = .token(name)
    }
  }
}
