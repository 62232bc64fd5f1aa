/// A kind of database that AWS runs, as matchers and commands name it.
public enum DatabaseType: String, CaseIterable, Sendable {
  case redshift
  case redshiftServerless = "redshift-serverless"
}
