import Foundation

/// Body of `POST /v1/hosts/sessions`: a host asks for a place among the sessions that a user may have at once.
public struct SessionLeaseRequest: Codable, Sendable {
  /// ID of the session that is to begin.
  public var session: String
  /// The user's certificate (DER): the host has it only from a user who connects.
  public var certificate: Data
  /// IDs of the host's sessions that have just ended, at most `SessionLeaseRenewal.maximum`: their places are free first.
  public var ended: [String]

  public init(session: String, certificate: Data, ended: [String]) {
    self.session = session
    self.certificate = certificate
    self.ended = ended
  }
}

/// Answer of `POST /v1/hosts/sessions`.
public struct SessionLeaseAnswer: Codable, Sendable {
  /// Whether the session has its place.
  public var isGranted: Bool
  /// How many sessions the user may have at once; 0: any number.
  public var limit: Int

  public init(isGranted: Bool, limit: Int) {
    self.isGranted = isGranted
    self.limit = limit
  }
}

/// Body of `POST /v1/hosts/sessions/renew`.
public struct SessionLeaseRenewal: Codable, Sendable {
  /// IDs of sessions that keep their places for `lifetime` more.
  public var held: [String]
  /// IDs of sessions that are over.
  public var ended: [String]

  public init(held: [String], ended: [String]) {
    self.held = held
    self.ended = ended
  }

  /// Seconds that a place is kept without being renewed: the host may have been killed.
  public static let lifetime = 60.0
  /// Seconds after which it is renewed.
  public static let interval = 15.0
  /// Most IDs in one list.
  public static let maximum = 2_000
}
