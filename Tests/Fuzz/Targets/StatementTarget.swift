import Foundation
import PostgresWire

@testable import Audit
@testable import DatabaseService
@testable import Gateway

extension FuzzTarget {
  /// The account of a session's statements: a byte of settings, then pieces of both directions. A piece is a byte with its
  /// direction and length and that many bytes; it gets as far as the relay's scanners let it.
  static let statements = FuzzTarget(name: "statements", maximumLength: 256) { bytes in
    var input = FuzzInput(bytes)
    let session = StatementSession(settings: input.byte())
    while let head = input.rest.first {
      _ = input.byte()
      session.take(UnsafeRawBufferPointer(rebasing: input.rest.prefix(Int(head >> 1))), isFromServer: head & 1 == 1)
      input = FuzzInput(UnsafeRawBufferPointer(rebasing: input.rest.dropFirst(Int(head >> 1))))
    }
    try session.end()
  }
}

/// A session without sockets: scanners, recorder, ring and tracker, as they work together on a reactor and after it.
private final class StatementSession {
  private var client = MessageScanner(side: .frontend)
  private var server = MessageScanner(side: .backend)
  private var clientEnded = false
  private var serverEnded = false
  private let ring: QueryRing
  private var recorder: QueryRecorder
  private var tracker: StatementTracker
  private let output = StatementRecords.Output(writer: AuditSink.writer, clockOffset: 0)
  private let before = AuditSink.writer.metrics
  private let drainsLate: Bool
  private var now: UInt64 = 0
  private var clientMessages = 0
  private var responses = 0

  init(settings: UInt8) {
    var recording = QueryRecording.Settings()
    recording.includesParameters = settings & 1 != 0
    recording.isStrict = settings & 2 != 0
    recording.maximumQuery = settings & 4 != 0 ? 16 : 8192
    recording.ringSize = 4096
    drainsLate = settings & 8 != 0
    let rings = QueryRecording(reactorCount: 1, settings: recording) {}
    ring = rings.rings[0]
    recorder = QueryRecorder(rings, reactor: 0, session: 1)
    tracker = StatementTracker(
      StatementRecords(
        context: [], level: settings & 16 != 0 ? .protocol : .statements,
        includesParameters: recording.includesParameters))
  }

  func take(_ bytes: UnsafeRawBufferPointer, isFromServer: Bool) {
    now += 300
    if isFromServer {
      guard !serverEnded, case let passed = scan(bytes, &server, &serverEnded), !passed.isEmpty else { return }
      responses += passed.count
      recorder.noteResponses(passed, now: now)
    } else {
      guard !clientEnded, case let passed = scan(bytes, &client, &clientEnded), !passed.isEmpty else { return }
      clientMessages += passed.count
      if recorder.noteRequests(passed, now: now) != .noted { clientEnded = true }
    }
    if !drainsLate { drain() }
  }

  private func scan(
    _ bytes: UnsafeRawBufferPointer, _ scanner: inout MessageScanner, _ hasEnded: inout Bool
  ) -> UnsafeRawBufferPointer {
    do throws(WireError) {
      guard let end = try scanner.scan(bytes).terminateEnd else { return bytes }
      hasEnded = true
      return UnsafeRawBufferPointer(rebasing: bytes.prefix(end))
    } catch {
      hasEnded = true
      return UnsafeRawBufferPointer(rebasing: bytes.prefix(scanner.acceptedPrefix))
    }
  }

  private func drain() {
    ring.drain { entry, bytes in
      tracker.take(entry, bytes, output)
      return true
    }
    tracker.writeOverdue(now: now, output)
  }

  func end() throws {
    drain()
    tracker.finish(output)
    AuditSink.writer.flush()
    let after = AuditSink.writer.metrics
    try require(after.failures == before.failures && after.dropped == before.dropped, "the sink does not take records")
    // No message is shorter than five bytes; a message has a record of its own, of its execution, and of its failure.
    let messages = (clientMessages + 4) / 5
    try require(
      after.written - before.written <= 3 * messages + responses, "\(after.written - before.written) records of nothing"
    )
  }
}

/// Where the records of all inputs go: a small audit log of its own.
private enum AuditSink {
  /// Invariant: targets run one after the other.
  nonisolated(unsafe) static let writer: AuditWriter = {
    let directory = NSTemporaryDirectory() + "fuzz-\(UUID().uuidString)"
    var settings = AuditLogSettings()
    settings.maximumSize = 8 << 20
    settings.maximumFiles = 1
    do {
      try FileManager.default.createDirectory(
        atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
      return try AuditWriter(AuditFiles(path: directory + "/events.log"), settings: settings)
    } catch {
      fatalError("no audit log to fuzz with: \(error)")
    }
  }()
}
