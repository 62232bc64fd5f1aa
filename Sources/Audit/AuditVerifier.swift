import Foundation
import TextForms

/// What checking a log's chain found.
public struct AuditVerification: Sendable, Equatable {
  public var files = 0
  public var records = 0
  /// Numbers of the oldest and newest record.
  public var first: Int?
  public var last: Int?
  /// The places where the chain is broken, at most `maximumProblems` of them.
  public var problems: [String] = []

  static let maximumProblems = 20
}

/// Checks that every record is there, unchanged and in its place.
public struct AuditVerifier: Sendable {
  private let files: AuditFiles
  private static let chunk = 1 << 20

  /// - Parameter path: of the current file, as `AuditLog` was given it.
  public init(path: String) { files = AuditFiles(path: path) }

  /// Reads all files. Blocking: takes the time of reading the whole log.
  ///
  /// - Parameter end: where the log ended, by its writer's own account, before this call.
  public func verify(end: AuditHead?) throws -> AuditVerification {
    var state = State()
    for (_, path) in try files.all() {
      state.result.files += 1
      try AuditReader.withFile(path) { descriptor, size in
        var position = 0
        var rest: [UInt8] = []
        while position < size {
          let buffer = try AuditReader.read(descriptor, at: position, count: min(Self.chunk, size - position))
          position += buffer.count
          rest += buffer
          guard let lastEnd = rest.lastIndex(of: UInt8(ascii: "\n")) else {
            guard rest.count <= AuditLogSettings.longestRecord else {
              throw AuditError("\(path) has a line that is no record")
            }
            continue
          }
          rest.withUnsafeBytes { bytes in
            for line in Lines(UnsafeRawBufferPointer(rebasing: bytes[...lastEnd])) {
              state.check(line, end: end, file: (path as NSString).lastPathComponent)
            }
          }
          rest.removeFirst(lastEnd + 1)
        }
        // An unfinished line of the current file is being written; in another it is damage.
        if !rest.isEmpty, path != files.current { state.complain("\(path) ends within a record") }
      }
    }
    if let end, end.sequence > state.head.sequence {
      state.complain("records \(state.head.sequence + 1) to \(end.sequence) are missing at the end")
    }
    return state.result
  }

  private struct State {
    var result = AuditVerification()
    var head = AuditHead.origin

    mutating func check(_ line: UnsafeRawBufferPointer, end: AuditHead?, file: String) {
      result.records += 1
      guard let sequence = AuditRecord.sequence(line), let previous = AuditRecord.previous(line) else {
        return complain("\(file): the line after record \(head.sequence) is no record")
      }
      // What came before the oldest file was rotated away.
      if result.first == nil {
        result.first = sequence
      } else if sequence != head.sequence + 1 {
        complain(
          sequence > head.sequence + 1
            ? "\(file): records \(head.sequence + 1) to \(sequence - 1) are missing"
            : "\(file): record \(sequence) follows record \(head.sequence)")
      } else if previous != Hex.encode(head.digest) {
        complain("\(file): record \(head.sequence) was changed after it was written")
      }
      head = AuditHead(sequence: sequence, digest: AuditRecord.digest(line))
      result.last = sequence
      if let end, end.sequence == sequence, end.digest != head.digest {
        complain("\(file): record \(sequence) is not the one that was written")
      }
    }

    mutating func complain(_ problem: String) {
      if result.problems.count < AuditVerification.maximumProblems { result.problems.append(problem) }
    }
  }
}
