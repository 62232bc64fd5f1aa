extension Role {
  /// The roles every cluster starts with, as a Teleport user knows them.
  public static let presets: [Role] = [
    described(
      Role(
        name: "access",
        spec: Spec(
          allow: Conditions(
            databaseLabels: ["*": ["*"]], databaseNames: ["{{internal.db_names}}"],
            databaseUsers: ["{{internal.db_users}}"],
            rules: [Rule(resources: ["event"], verbs: ["list", "read"])]))),
      "Access cluster resources"),
    described(
      Role(
        name: "editor",
        spec: Spec(
          allow: Conditions(rules: [
            Rule(
              resources: [
                "role", "user", "token", "db", "cert_authority", "cluster", "cluster_auth_preference", "lock",
                "database_certificate", "instance",
              ],
              verbs: ["*"])
          ]))),
      "Edit cluster configuration"),
    described(
      Role(
        name: "auditor",
        spec: Spec(allow: Conditions(rules: [Rule(resources: ["session", "event"], verbs: ["list", "read"])]))),
      "Review cluster events and sessions"),
  ]

  private static func described(_ role: Role, _ description: String) -> Role {
    var role = role
    role.metadata.description = description
    return role
  }
}
