import Foundation
import PKI

/// The UUID of this host in its cluster: `server_id` of audit records, in DATA_DIR/host_uuid as Teleport keeps it.
enum HostIdentifier {
  /// Reads it; makes one at the first start.
  static func load(dataDirectory: String) throws -> String {
    let path = dataDirectory + "/host_uuid"
    if FileManager.default.fileExists(atPath: path) {
      let text = try PrivateFile.read(path).revealText() ?? ""
      guard let known = UUID(uuidString: text.trimmingCharacters(in: .whitespacesAndNewlines)) else {
        throw PKIError("\(path) does not hold a UUID; remove it to have a new one made")
      }
      return known.uuidString.lowercased()
    }
    let fresh = UUID().uuidString.lowercased()
    try PrivateFile.write(fresh, to: path)
    return fresh
  }
}
