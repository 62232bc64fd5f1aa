/// An identity that its certificate still proves, but that counts no more; the message is for the client.
public struct IdentityRefusal: Error, Sendable, CustomStringConvertible {
  public let message: String
  public init(_ message: String) { self.message = message }
  public var description: String { message }
}
