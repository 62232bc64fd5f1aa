/// Where a session's ciphertext goes: C functions and their context.
public struct TLSOutput {
  let context: UnsafeMutableRawPointer?
  let append: @convention(c) (UnsafeMutableRawPointer?, UnsafeRawPointer?, Int) -> Void
  private let makeRoom: (@convention(c) (UnsafeMutableRawPointer?, Int) -> UnsafeMutableRawPointer?)?

  /// - Parameters:
  ///   - append: takes a copy of all bytes.
  ///   - claim: appends that many bytes, at most one record, for the caller to write before anything else is done with
  ///     the output; `nil` if this output cannot: its sessions keep OpenSSL's record layer.
  public init(
    context: UnsafeMutableRawPointer?,
    append: @escaping @convention(c) (UnsafeMutableRawPointer?, UnsafeRawPointer?, Int) -> Void,
    claim: (@convention(c) (UnsafeMutableRawPointer?, Int) -> UnsafeMutableRawPointer?)? = nil
  ) {
    self.context = context
    self.append = append
    makeRoom = claim
  }

  var canClaim: Bool { makeRoom != nil }

  func claim(_ count: Int) -> UnsafeMutableRawPointer? { makeRoom?(context, count) }
}
