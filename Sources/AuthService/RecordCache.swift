import ControlAPI
import Foundation
import Synchronization

/// Reads the stored records of databases; those that were among the last ones are not decoded again. Every listing and
/// every certificate for a database goes through all of them. Thread-safe.
final class RecordCache: Sendable {
  private let known = Mutex<[String: DatabaseRecord]>([:])

  /// - Parameter texts: JSON, as it is stored.
  func read(_ texts: [String]) throws -> [DatabaseRecord] {
    let known = known.withLock { $0 }
    var current: [String: DatabaseRecord] = [:]
    current.reserveCapacity(texts.count)
    let records = try texts.map { text in
      let record = try known[text] ?? JSONDecoder.api.decode(DatabaseRecord.self, from: Data(text.utf8))
      current[text] = record
      return record
    }
    self.known.withLock { [current] in $0 = current }
    return records
  }
}
