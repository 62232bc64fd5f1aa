import AccessControl
import Yams

/// A key of Teleport's that this program does not implement. A file that has it is refused, unless its value asks for what
/// happens anyway: to start without what someone relies on would be worse than not to start.
struct UnsupportedKey {
  let name: String
  /// Scalars that ask for nothing; booleans are spelled `true` and `false`. Nothing at all, an empty list or mapping and a
  /// mapping with `enabled: no` never do.
  var harmless: [String] = []
  /// What the program does instead, or what to write.
  let reason: String

  static let auth = [
    UnsupportedKey(
      name: "proxy_listener_mode", harmless: ["multiplex"],
      reason: "one port serves all protocols; write multiplex or remove it")
  ]

  static let proxy = [
    UnsupportedKey(name: "listen_addr", reason: "it is for SSH, which is not served; remove it"),
    UnsupportedKey(name: "tunnel_listen_addr", reason: "everything is served at web_listen_addr; remove it"),
    UnsupportedKey(name: "acme", reason: "give a certificate with https_keypairs"),
  ]

  static let awsMatcher = [
    UnsupportedKey(name: "install", reason: "it is for servers, which are not looked for; remove it"),
    UnsupportedKey(name: "ssm", reason: "it is for servers, which are not looked for; remove it"),
    UnsupportedKey(
      name: "integration", reason: "this host's own AWS credentials are used; name a role with assume_role_arn"),
    UnsupportedKey(
      name: "kube_app_discovery", harmless: ["false"],
      reason: "it is for Kubernetes, which is not looked for; remove it"),
    UnsupportedKey(
      name: "setup_access_for_arn", reason: "it is for Kubernetes, which is not looked for; remove it"),
  ]

  static let discoveryService = [
    UnsupportedKey(name: "azure", reason: "only AWS is looked at; remove it"),
    UnsupportedKey(name: "gcp", reason: "only AWS is looked at; remove it"),
    UnsupportedKey(name: "kubernetes", reason: "only databases are looked for; remove it"),
    UnsupportedKey(name: "access_graph", reason: "there is none; remove it"),
  ]

  static let database = [
    UnsupportedKey(name: "admin_user", reason: "users are not provisioned; make them in the database")
  ]

  static let services = [
    UnsupportedKey(name: "ssh_service", reason: "SSH is not served; write enabled: no")
  ]
}

extension YAMLSection {
  /// - Throws: `ConfigurationError` for the first of `keys` that asks for something.
  func refuse(_ keys: [UnsupportedKey]) throws {
    for key in keys {
      guard let value = self[key.name], !asksForNothing(value, key.harmless) else { continue }
      throw complaint(key.name, "is not supported: \(key.reason)")
    }
  }

  private func asksForNothing(_ value: Node, _ harmless: [String]) -> Bool {
    switch value {
    case .mapping(let mapping):
      mapping.isEmpty || mapping["enabled"]?.scalar.map { YAMLBoolean.value(of: $0.string) == false } ?? false
    case .sequence(let sequence): sequence.isEmpty
    case .scalar(let scalar):
      harmless.contains(YAMLBoolean.value(of: scalar.string).map { "\($0)" } ?? scalar.string)
    case .alias: false
    }
  }
}
