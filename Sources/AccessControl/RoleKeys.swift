/// The keys one mapping of a role, or of another resource, may have, and what becomes of those that Sallyport does not read itself.
///
/// A role is a promise about who gets in: a key that narrows access must be enforced or refused, never passed over.
package struct RoleKeys {
  /// Read and enforced.
  let enforced: [String]
  /// Of Teleport's other protocols, or without any effect on a database session: accepted, without meaning here.
  var foreign: [String] = []
  /// They would restrict database sessions and are not enforced. Accepted only with a value that restricts nothing:
  /// `null`, an empty list or mapping, or one of the texts named here (booleans are spelled `true` and `false`).
  var unenforced: [String: [String]] = [:]

  package init(enforced: [String], foreign: [String] = [], unenforced: [String: [String]] = [:]) {
    self.enforced = enforced
    self.foreign = foreign
    self.unenforced = unenforced
  }

  /// - Throws: `RoleError` for a key that nobody knows (with the nearest known one) or that cannot be honoured.
  package func check(_ decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: AnyKey.self)
    for key in values.allKeys {
      let name = key.stringValue
      if let harmless = unenforced[name] {
        guard try values.decode(RoleValue.self, forKey: key).isHarmless(harmless) else {
          throw RoleError(
            "'\(name)' is not enforced by this version and would give more access than the role says; remove it"
              + (harmless.first { !$0.isEmpty }.map { " or set it to \($0)" } ?? ""),
            at: path(decoder, name))
        }
      } else if !enforced.contains(name), !foreign.contains(name) {
        let nearest = Spelling.nearest(to: name, among: enforced + foreign + unenforced.keys.sorted())
        throw RoleError(
          "unknown key '\(name)'" + (nearest.map { "; did you mean '\($0)'?" } ?? ""), at: path(decoder, name))
      }
    }
  }

  private func path(_ decoder: any Decoder, _ name: String) -> [String] {
    decoder.codingPath.map(\.stringValue) + [name]
  }

  private struct AnyKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }
}

extension RoleKeys {
  /// The outermost mapping of every resource.
  package static let resource = RoleKeys(
    enforced: ["kind", "version", "metadata", "spec"], unenforced: ["sub_kind": [""]])

  static let metadata = RoleKeys(
    enforced: ["name", "description", "labels", "revision"], foreign: ["id"],
    unenforced: ["expires": [], "namespace": ["default", ""]])

  static let spec = RoleKeys(enforced: ["allow", "deny", "options"])

  /// Of one side of a role; the comment of Teleport's RoleConditions (api/types) tells the protocol of each.
  static let conditions = RoleKeys(
    enforced: Role.Conditions.CodingKeys.allCases.map(\.rawValue),
    foreign: [
      "logins", "namespaces", "node_labels", "node_labels_expression", "host_groups", "host_sudoers",
      "kubernetes_groups",
      "kubernetes_labels", "kubernetes_labels_expression", "kubernetes_users", "kubernetes_resources", "app_labels",
      "app_labels_expression", "aws_role_arns", "azure_identities", "gcp_service_accounts", "cluster_labels",
      "cluster_labels_expression", "windows_desktop_labels", "windows_desktop_labels_expression",
      "windows_desktop_logins", "desktop_groups", "group_labels", "group_labels_expression", "request",
      "review_requests", "impersonate", "join_sessions", "db_service_labels", "db_service_labels_expression", "spiffe",
      "account_assignments", "github_permissions", "mcp", "workload_identity_labels",
      "workload_identity_labels_expression",
    ],
    unenforced: [
      "db_labels_expression": [""], "db_roles": [], "db_permissions": [],
      "require_session_join": [],
    ])

  /// `where` narrows a rule to some of the resources.
  static let rule = RoleKeys(enforced: ["resources", "verbs"], unenforced: ["where": [""], "actions": []])

  static let options = RoleKeys(
    enforced: Role.Options.CodingKeys.allCases.map(\.rawValue),
    foreign: [
      "forward_agent", "port_forwarding", "ssh_port_forwarding", "cert_format", "cert_extensions", "enhanced_recording",
      "record_session", "permit_x11_forwarding", "ssh_file_copy", "max_sessions", "max_kubernetes_connections",
      "create_host_user", "create_host_user_mode", "create_host_user_default_shell", "create_desktop_user",
      "desktop_clipboard", "desktop_directory_sharing", "idp", "request_prompt", "mfa_verification_interval",
    ],
    unenforced: [
      "lock": ["best_effort", ""], "require_session_mfa": ["false", "0", ""], "pin_source_ip": ["false"],
      "create_db_user": ["false"], "create_db_user_mode": ["false", "0", ""],
      "device_trust_mode": ["optional", "false", ""], "request_access": ["optional", ""],
    ])
}

/// A boolean of a role, as YAML or JSON has it.
struct RoleFlag: Decodable {
  let isOn: Bool

  init(from decoder: any Decoder) throws {
    let value = try decoder.singleValueContainer()
    if let flag = try? value.decode(Bool.self) {
      isOn = flag
      return
    }
    let text = try value.decode(String.self)
    guard let flag = YAMLBoolean.value(of: text) else {
      let path = decoder.codingPath.map(\.stringValue)
      throw RoleError("'\(path.last ?? "")' is '\(text)', which is neither yes nor no", at: path)
    }
    isOn = flag
  }
}

/// A count of a role, as YAML or JSON has it.
struct RoleCount: Decodable {
  let value: Int

  private static let range = 0...1_000_000

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    let number = (try? container.decode(Int.self)) ?? (try? container.decode(String.self)).flatMap { Int($0) }
    guard let number, Self.range.contains(number) else {
      let path = decoder.codingPath.map(\.stringValue)
      throw RoleError(
        "'\(path.last ?? "")' must be a number from \(Self.range.lowerBound) (no limit) to \(Self.range.upperBound)",
        at: path)
    }
    value = number
  }
}

/// Any value, as far as telling whether it restricts something needs it.
private enum RoleValue: Decodable {
  case nothing
  case text(String)
  case collection(count: Int)

  private struct Ignored: Decodable {}

  init(from decoder: any Decoder) throws {
    if let list = try? decoder.unkeyedContainer() {
      self = .collection(count: list.count ?? 1)
    } else if let mapping = try? [String: Ignored](from: decoder) {
      self = .collection(count: mapping.count)
    } else {
      let value = try decoder.singleValueContainer()
      if value.decodeNil() {
        self = .nothing
      } else if let text = try? value.decode(String.self) {
        self = .text(YAMLBoolean.value(of: text).map { "\($0)" } ?? text)
      } else if let flag = try? value.decode(Bool.self) {
        self = .text("\(flag)")
      } else {
        self = .text((try? value.decode(Int.self)) == 0 ? "0" : "another number")
      }
    }
  }

  func isHarmless(_ texts: [String]) -> Bool {
    switch self {
    case .nothing: true
    case .collection(let count): count == 0
    case .text(let text): texts.contains(text)
    }
  }
}

/// YAML 1.1's booleans (yaml.org/type/bool.html) without the single letters, quoted or not.
public enum YAMLBoolean {
  /// What `text` says; `nil` if it is no boolean.
  public static func value(of text: String) -> Bool? {
    switch text.lowercased() {
    case "yes", "true", "on": true
    case "no", "false", "off": false
    default: nil
    }
  }
}
