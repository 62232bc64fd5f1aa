import AccessControl
import ControlAPI
import PKI

extension ClusterSnapshot {
  /// What the holder of a verified certificate may do now: its roles that the user still has, as they are in here.
  public func checker(for identity: UserIdentity) throws -> AccessChecker {
    guard identity.clusterName == clusterName else {
      throw IdentityRefusal("the certificate is of another cluster; run 'tsh login'")
    }
    guard let user = users.first(where: { $0.name == identity.username }) else {
      throw IdentityRefusal("the user no longer exists")
    }
    let held = Set(identity.roles).intersection(user.roles)
    return AccessChecker(roles: roles.filter { held.contains($0.metadata.name) }, traits: user.traits)
  }
}

extension AuthorityCertificates {
  /// The same, as one who checks certificates wants them.
  public var trusted: TrustedAuthorities {
    get throws { try TrustedAuthorities(userPEMs: userPEMs, hostPEMs: hostPEMs) }
  }
}
