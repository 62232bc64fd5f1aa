import StateStore

extension ClusterState {
  /// The schema's history. Tables whose rows hosts decide by are counted: each change of one raises the revision.
  static let migrations = [
    Migration(
      "1: users, roles, tokens, invites, authorities, settings",
      [
        "CREATE TABLE setting (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL)",
        "CREATE TABLE authority (kind TEXT PRIMARY KEY NOT NULL, certificate TEXT NOT NULL, key BYTEA NOT NULL)",
        "CREATE TABLE role (name TEXT PRIMARY KEY NOT NULL, json TEXT NOT NULL)",
        """
        CREATE TABLE "user" (
          name TEXT PRIMARY KEY NOT NULL, roles TEXT NOT NULL, traits TEXT NOT NULL, password TEXT)
        """,
        "CREATE TABLE token (hash TEXT PRIMARY KEY NOT NULL, roles TEXT NOT NULL, expires DOUBLE PRECISION NOT NULL)",
        """
        CREATE TABLE invite (
          hash TEXT PRIMARY KEY NOT NULL, "user" TEXT NOT NULL, expires DOUBLE PRECISION NOT NULL)
        """,
      ]),
    Migration(
      "2: second factor",
      [
        // The secret is sealed; see SealedSecrets. last_step: the last step whose code was accepted: neither it nor an
        // earlier one is accepted again.
        """
        CREATE TABLE second_factor ("user" TEXT PRIMARY KEY NOT NULL, secret BYTEA NOT NULL, last_step BIGINT NOT NULL)
        """,
        "ALTER TABLE invite ADD COLUMN secret BYTEA",
      ]),
    Migration(
      "3: hosts and the revision of what they decide by",
      [
        """
        CREATE TABLE host_database (
          host TEXT NOT NULL, name TEXT NOT NULL, json TEXT NOT NULL, expires DOUBLE PRECISION NOT NULL,
          PRIMARY KEY (host, name))
        """,
        """
        CREATE TABLE host_proxy (
          host TEXT PRIMARY KEY NOT NULL, address TEXT NOT NULL, expires DOUBLE PRECISION NOT NULL)
        """,
        "INSERT INTO setting VALUES ('revision', '1')",
      ], counting: ["role", "user", "authority", "host_proxy"]),
    Migration(
      "4: locks",
      [
        // Without an end a lock stays until it is removed.
        "CREATE TABLE lock (name TEXT PRIMARY KEY NOT NULL, json TEXT NOT NULL, expires DOUBLE PRECISION)"
      ], counting: ["lock"]),
    Migration(
      "5: names that need no quotes in PostgreSQL",
      [
        #"ALTER TABLE "user" RENAME TO cluster_user"#,
        #"ALTER TABLE invite RENAME COLUMN "user" TO username"#,
        #"ALTER TABLE second_factor RENAME COLUMN "user" TO username"#,
      ]),
    Migration(
      "6: rotations of authorities, and the hosts that were seen",
      [
        // Those of `authority` issue; the other key pair is trusted besides while a rotation is under way.
        """
        CREATE TABLE rotation (
          kind TEXT PRIMARY KEY NOT NULL, phase TEXT NOT NULL, is_manual BIGINT NOT NULL,
          since DOUBLE PRECISION NOT NULL, phase_seconds DOUBLE PRECISION NOT NULL, last_rotated DOUBLE PRECISION,
          certificate TEXT, key BYTEA, bridges TEXT)
        """,
        """
        CREATE TABLE host (
          id TEXT PRIMARY KEY NOT NULL, name TEXT NOT NULL, services TEXT NOT NULL, version TEXT NOT NULL,
          last_seen DOUBLE PRECISION NOT NULL, certificate_expires DOUBLE PRECISION NOT NULL)
        """,
      ], counting: ["rotation"]),
    Migration(
      "7: joining by AWS identity",
      [
        "CREATE TABLE iam_token (name TEXT PRIMARY KEY NOT NULL, json TEXT NOT NULL)",
        "CREATE TABLE join_challenge (hash TEXT PRIMARY KEY NOT NULL, expires DOUBLE PRECISION NOT NULL)",
      ]),
    Migration(
      "8: databases made with tctl",
      ["CREATE TABLE db (name TEXT PRIMARY KEY NOT NULL, json TEXT NOT NULL)"], counting: ["db"]),
    Migration(
      "9: places of sessions whose number is bounded",
      [
        """
        CREATE TABLE session_lease (
          session TEXT PRIMARY KEY NOT NULL, username TEXT NOT NULL, host TEXT NOT NULL,
          expires DOUBLE PRECISION NOT NULL)
        """,
        "CREATE INDEX session_lease_username ON session_lease (username)",
      ]),
  ]
}
