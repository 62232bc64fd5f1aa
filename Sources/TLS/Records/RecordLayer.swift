import CPlatform
import Secrets

/// The records of a connection after its handshake, without OpenSSL's SSL object: framing, alerts, key updates.
///
/// Ciphertext is decrypted from where it was received to where the plaintext is wanted, and plaintext is encrypted into
/// the room that the output gives: no byte is copied on its way but those of a record that arrives in pieces. Holds no
/// buffer while no such record is under way. Bound to one thread.
///
/// Sources: RFC 8446 sections 4.6, 5 and 6; RFC 5246 sections 6 and 7.
struct RecordLayer: ~Copyable {
  private enum State {
    case open, closed
    case failed(TLSFailure)
  }

  private var reading: RecordKey
  private var writing: RecordKey
  /// TLS 1.3: what the keys after the next KeyUpdate follow from.
  private var secrets: Secrets?
  private let isServer: Bool
  private var state = State.open

  private let blocks: BlockPool
  /// The beginning of a record whose rest is still to come.
  private var partial: UnsafeMutableRawPointer?
  private var partialCount = 0

  /// Records in a row that brought no data: a peer may not keep us busy with those.
  private var idleRecords = 0
  /// Header and first byte of a handshake message that came in pieces, or what is left of one to be skipped.
  private var messageStart: [UInt8] = []
  private var messageRest = 0
  private let rekeyAfter: UInt64

  struct Secrets {
    var reading: Secret
    var writing: Secret
  }

  /// The most plaintext of one record (RFC 8446 section 5.1).
  static let largestPlaintext = 16 * 1024
  /// What `read` needs: with TLS 1.3 the content type is decrypted with the plaintext.
  static let roomToRead = largestPlaintext + 1
  private static let mostIdleRecords = 32

  /// - Parameter rekeyAfter: records after which our keys are renewed where TLS can: AES-GCM is good for 2^24.5 full
  ///   records (RFC 8446 section 5.5).
  init(
    reading: consuming RecordKey, writing: consuming RecordKey, secrets: Secrets?, isServer: Bool, blocks: BlockPool,
    rekeyAfter: UInt64
  ) {
    self.reading = reading
    self.writing = writing
    self.secrets = secrets
    self.isServer = isServer
    self.blocks = blocks
    self.rekeyAfter = rekeyAfter
  }

  deinit { if let partial { blocks.give(partial) } }

  private var suite: RecordSuite { reading.suite }

  // MARK: Writing

  /// Encrypts all of `plaintext`, in records of at most `largest` bytes.
  mutating func write(_ plaintext: UnsafeRawBufferPointer, largest: Int, to output: TLSOutput) -> TLSFailure? {
    var rest = plaintext
    while !rest.isEmpty {
      let part = UnsafeRawBufferPointer(rebasing: rest.prefix(min(largest, Self.largestPlaintext)))
      guard seal(part, as: ContentType.applicationData, to: output) else { return .brokenRecords }
      rest = UnsafeRawBufferPointer(rebasing: rest[part.count...])
    }
    return nil
  }

  /// Says that nothing more will be written.
  mutating func shutdown(to output: TLSOutput) { send(alert: SSL_AD_CLOSE_NOTIFY, to: output) }

  private mutating func seal(_ plaintext: UnsafeRawBufferPointer, as type: UInt8, to output: TLSOutput) -> Bool {
    if writing.sequence >= rekeyAfter, secrets != nil, !updateWritingKey(to: output) { return false }
    guard let room = output.claim(writing.recordCount(plaintext.count)) else { return false }
    return writing.seal(plaintext, as: type, into: room)
  }

  private mutating func send(alert: Int32, to output: TLSOutput) {
    let isGoodbye = alert == SSL_AD_CLOSE_NOTIFY
    var message = (UInt8(isGoodbye ? SSL3_AL_WARNING : SSL3_AL_FATAL), UInt8(truncatingIfNeeded: alert))
    // An alert that cannot be sent is lost: the connection ends in any case.
    _ = withUnsafeBytes(of: &message) { seal($0, as: ContentType.alert, to: output) }
  }

  // MARK: Reading

  /// Decrypts the next record of `input` that brings data into `buffer`, which has `roomToRead` bytes or more; what it
  /// takes is cut off from `input`.
  mutating func read(
    from input: inout UnsafeRawBufferPointer, into buffer: UnsafeMutableRawBufferPointer, replyingTo output: TLSOutput
  ) -> TLSSession.ReadStep {
    precondition(buffer.count >= Self.roomToRead)
    guard let room = buffer.baseAddress else { return .needsInput }
    while true {
      switch state {
      case .open: break
      case .closed: return .closed
      case .failed(let failure): return .failed(failure)
      }
      switch nextRecord(&input) {
      case .incomplete: return .needsInput
      case .illegal(let alert): return fail(alert, output)
      case .whole(let record):
        let outerType = record[0]
        let opened = reading.open(record, into: room)
        releasePartial()
        guard let opened else { return fail(SSL_AD_BAD_RECORD_MAC, output) }
        let plaintext = UnsafeMutableRawBufferPointer(rebasing: buffer[..<opened])
        guard let (type, content) = inner(plaintext, outerType) else { return fail(SSL_AD_UNEXPECTED_MESSAGE, output) }
        if type == ContentType.applicationData, !content.isEmpty {
          idleRecords = 0
          return .bytes(content.count)
        }
        idleRecords += 1
        guard idleRecords <= Self.mostIdleRecords else { return fail(SSL_AD_UNEXPECTED_MESSAGE, output) }
        if let alert = takeControl(type, content, output) { return fail(alert, output) }
      }
    }
  }

  private mutating func fail(_ alert: Int32, _ output: TLSOutput) -> TLSSession.ReadStep {
    let failure: TLSFailure
    if case .failed(let known) = state {
      failure = known
    } else {
      send(alert: alert, to: output)
      failure = .protocolError(alert)
      state = .failed(failure)
    }
    return .failed(failure)
  }

  /// Content type and content of what was decrypted.
  private func inner(
    _ plaintext: UnsafeMutableRawBufferPointer, _ outerType: UInt8
  ) -> (type: UInt8, content: UnsafeRawBufferPointer)? {
    guard suite.version == .tls13 else { return (outerType, UnsafeRawBufferPointer(plaintext)) }
    // Padding is zeros behind the type (RFC 8446 section 5.4).
    guard let position = plaintext.lastIndex(where: { $0 != 0 }) else { return nil }
    return (plaintext[position], UnsafeRawBufferPointer(rebasing: plaintext[..<position]))
  }

  // MARK: Framing

  private enum Frame {
    case whole(UnsafeRawBufferPointer)
    case incomplete
    case illegal(alert: Int32)
  }

  /// The next record: in place if all of it is there, else put together in a block, which `releasePartial` returns.
  private mutating func nextRecord(_ input: inout UnsafeRawBufferPointer) -> Frame {
    if partial == nil {
      guard !input.isEmpty else { return .incomplete }
      if input.count >= RecordSuite.headerCount {
        switch header(input) {
        case .illegal(let alert): return .illegal(alert: alert)
        case .record(let count) where count <= input.count: return .whole(Self.take(count, from: &input))
        case .record: break
        }
      }
      partial = blocks.take()
    }
    guard let block = partial else { return .incomplete }
    keep(RecordSuite.headerCount - partialCount, of: &input, in: block)
    guard partialCount >= RecordSuite.headerCount else { return .incomplete }
    switch header(UnsafeRawBufferPointer(start: block, count: partialCount)) {
    case .illegal(let alert): return .illegal(alert: alert)
    case .record(let count):
      keep(count - partialCount, of: &input, in: block)
      return partialCount == count ? .whole(UnsafeRawBufferPointer(start: block, count: count)) : .incomplete
    }
  }

  private mutating func keep(
    _ wanted: Int, of input: inout UnsafeRawBufferPointer, in block: UnsafeMutableRawPointer
  ) {
    let part = Self.take(min(max(wanted, 0), input.count), from: &input)
    UnsafeMutableRawBufferPointer(start: block + partialCount, count: part.count).copyMemory(from: part)
    partialCount += part.count
  }

  private static func take(_ count: Int, from input: inout UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    defer { input = UnsafeRawBufferPointer(rebasing: input[count...]) }
    return UnsafeRawBufferPointer(rebasing: input[..<count])
  }

  private mutating func releasePartial() {
    guard let block = partial else { return }
    blocks.give(block)
    (partial, partialCount) = (nil, 0)
  }

  private enum Header {
    /// Bytes of the whole record.
    case record(count: Int)
    case illegal(alert: Int32)
  }

  /// Reads the header at the start of `bytes`.
  private func header(_ bytes: UnsafeRawBufferPointer) -> Header {
    let isControl = (ContentType.alert...ContentType.handshake) ~= bytes[0]
    // TLS 1.3 hides the type, and its version is written as 1.2's (RFC 8446 section 5.2).
    let isLegal = bytes[0] == ContentType.applicationData || (isControl && suite.version == .tls12)
    guard isLegal, bytes[1] == 3, bytes[2] == 3 else { return .illegal(alert: SSL_AD_UNEXPECTED_MESSAGE) }
    let count = RecordSuite.headerCount + (Int(bytes[3]) << 8 | Int(bytes[4]))
    if count > suite.overhead + Self.largestPlaintext { return .illegal(alert: SSL_AD_RECORD_OVERFLOW) }
    return count >= suite.overhead ? .record(count: count) : .illegal(alert: SSL_AD_UNEXPECTED_MESSAGE)
  }

  // MARK: Control

  /// Acts on a record without data. Returns the alert to fail with, if it must.
  private mutating func takeControl(_ type: UInt8, _ content: UnsafeRawBufferPointer, _ output: TLSOutput) -> Int32? {
    switch type {
    case ContentType.applicationData: return nil
    case ContentType.alert: return takeAlert(content)
    case ContentType.handshake where !content.isEmpty: return takeMessages(content, output)
    default: return SSL_AD_UNEXPECTED_MESSAGE
    }
  }

  private mutating func takeAlert(_ content: UnsafeRawBufferPointer) -> Int32? {
    guard content.count == 2 else { return SSL_AD_DECODE_ERROR }
    let (level, alert) = (Int32(content[0]), Int32(content[1]))
    if alert == SSL_AD_CLOSE_NOTIFY {
      state = .closed
    } else if alert != SSL_AD_USER_CANCELLED, suite.version == .tls13 || level != SSL3_AL_WARNING {
      state = .failed(.alert(alert))
    }
    return nil
  }

  /// Handshake messages after the handshake: key updates are followed, tickets nobody waits for any more are skipped.
  private mutating func takeMessages(_ content: UnsafeRawBufferPointer, _ output: TLSOutput) -> Int32? {
    var rest = content[...]
    while !rest.isEmpty {
      let skipped = min(messageRest, rest.count)
      rest = rest.dropFirst(skipped)
      messageRest -= skipped
      guard messageRest == 0, let byte = rest.popFirst() else { continue }
      messageStart.append(byte)
      guard messageStart.count >= 4 else { continue }
      let type = Int32(messageStart[0])
      let count = Int(messageStart[1]) << 16 | Int(messageStart[2]) << 8 | Int(messageStart[3])
      switch (suite.version, type) {
      // A server's wish to negotiate anew, which may be ignored (RFC 5246 section 7.4.1.1).
      case (.tls12, SSL3_MT_HELLO_REQUEST) where !isServer && count == 0: messageStart = []
      // The fields of a ticket hold no more than this (RFC 8446 section 4.6.1).
      case (.tls13, SSL3_MT_NEWSESSION_TICKET) where !isServer && count < 1 << 18:
        (messageStart, messageRest) = ([], count)
      case (.tls13, SSL3_MT_KEY_UPDATE) where count == 1:
        guard messageStart.count == 5 else { continue }
        let request = Int32(messageStart[4])
        messageStart = []
        // What follows is protected with other keys, so it cannot be in the same record (RFC 8446 section 5.1).
        guard rest.isEmpty, request <= SSL_KEY_UPDATE_REQUESTED else { return SSL_AD_UNEXPECTED_MESSAGE }
        guard updateReadingKey(), request == SSL_KEY_UPDATE_NOT_REQUESTED || updateWritingKey(to: output) else {
          return SSL_AD_INTERNAL_ERROR
        }
      default: return SSL_AD_UNEXPECTED_MESSAGE
      }
    }
    return nil
  }

  // MARK: Key updates (RFC 8446 section 4.6.3)

  // `secrets` is replaced as a whole: of what `secrets?.reading = ...` replaces in a noncopyable struct, Swift 6.3 never lets
  // go, and a secret that is not let go is not wiped.

  private mutating func updateReadingKey() -> Bool {
    guard var next = secrets, let secret = KeySchedule.next(after: next.reading, suite),
      let keys = KeySchedule.keys(from: secret, suite)
    else { return false }
    next.reading = secret
    secrets = next
    return reading.replace(with: keys)
  }

  private mutating func updateWritingKey(to output: TLSOutput) -> Bool {
    guard var next = secrets, let secret = KeySchedule.next(after: next.writing, suite),
      let keys = KeySchedule.keys(from: secret, suite)
    else { return false }
    let message: [UInt8] = [UInt8(SSL3_MT_KEY_UPDATE), 0, 0, 1, UInt8(SSL_KEY_UPDATE_NOT_REQUESTED)]
    let isSent = message.withUnsafeBytes { bytes in
      guard let room = output.claim(writing.recordCount(bytes.count)) else { return false }
      return writing.seal(bytes, as: ContentType.handshake, into: room)
    }
    next.writing = secret
    secrets = next
    return isSent && writing.replace(with: keys)
  }
}
