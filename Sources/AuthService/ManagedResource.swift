import AccessControl
import ControlAPI
import Crypto
import Foundation
import TextForms

/// A kind of resource that the cluster keeps: one set of routes serves them all.
protocol ManagedResource: ClusterResource {
  /// All of them, without what has to be kept secret unless `withSecrets`.
  static func list(of auth: AuthServer, withSecrets: Bool) throws -> [Self]
  static func put(_ request: ResourceRequest<Self>, to auth: AuthServer, by actor: String) throws -> ResourceResponse
  static func remove(_ name: String, from auth: AuthServer, by actor: String) throws
}

extension Role: ManagedResource {
  static func list(of auth: AuthServer, withSecrets: Bool) throws -> [Role] {
    try auth.roles().map { try $0.withRevision() }
  }
  static func put(_ request: ResourceRequest<Role>, to auth: AuthServer, by actor: String) throws -> ResourceResponse {
    try auth.putRole(request, by: actor)
  }
  static func remove(_ name: String, from auth: AuthServer, by actor: String) throws {
    try auth.removeRole(name, by: actor)
  }
}

extension Lock: ManagedResource {
  static func list(of auth: AuthServer, withSecrets: Bool) throws -> [Lock] {
    try auth.locks().map { try $0.withRevision() }
  }
  static func put(_ request: ResourceRequest<Lock>, to auth: AuthServer, by actor: String) throws -> ResourceResponse {
    try auth.putLock(request, by: actor)
  }
  static func remove(_ name: String, from auth: AuthServer, by actor: String) throws {
    try auth.removeLock(name, by: actor)
  }
}

extension AuthPreference: ManagedResource {
  static func list(of auth: AuthServer, withSecrets: Bool) throws -> [AuthPreference] {
    [try auth.authPreference().withRevision()]
  }
  static func put(
    _ request: ResourceRequest<AuthPreference>, to auth: AuthServer, by actor: String
  ) throws -> ResourceResponse { try auth.putAuthPreference(request, by: actor) }
  static func remove(_ name: String, from auth: AuthServer, by actor: String) throws {
    guard name == AuthPreference.name else { throw AuthError.notFound("there is only \(AuthPreference.name)") }
    try auth.resetAuthPreference(by: actor)
  }
}

extension ClusterResource {
  /// The resource with the name of its content: the beginning of a hash of it.
  func withRevision() throws -> Self {
    var resource = self
    resource.revision = nil
    let encoder = JSONEncoder()
    encoder.outputFormatting = .sortedKeys
    resource.revision = String(Hex.encode(SHA256.hash(data: try encoder.encode(resource))).prefix(16))
    return resource
  }
}

extension ResourceRequest where Resource: ManagedResource {
  /// Checks it again: code may have made it.
  func validate() throws {
    do {
      try resource.validate()
    } catch let error as RoleError {
      throw AuthError.invalid(error.description)
    }
  }

  /// The resource as it is stored.
  var stored: Resource {
    var resource = resource
    resource.revision = nil
    return resource
  }

  /// Whether the resource may be written; to be asked in the transaction that writes it.
  ///
  /// - Parameters:
  ///   - exists: whether there is one of its name.
  ///   - present: reads that one; `nil` if it cannot be read.
  /// - Returns: `exists`.
  func check(exists: Bool, _ present: () throws -> Resource?) throws -> Bool {
    let what = "\(Resource.kind) '\(resource.name)'"
    switch condition {
    case .any: break
    case .absent:
      guard !exists else {
        throw AuthError.exists("\(what) already exists", hint: "replace it with 'tctl create --force'")
      }
    case .unchanged:
      guard exists else { throw AuthError.notFound("\(what) does not exist any more") }
      guard let revision = resource.revision, try present()?.withRevision().revision == revision else {
        throw AuthError.exists("\(what) has been changed meanwhile", hint: "look at it again and make the change anew")
      }
    }
    return exists
  }
}
