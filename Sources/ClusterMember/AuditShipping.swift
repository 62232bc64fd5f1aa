import Audit
import ControlAPI
import ControlClient
import Foundation

/// How a host's audit log gets to the Auth Service.
///
/// The log on this host's disk is the queue: records go out from where the other side has them, in order, again if an
/// answer was lost. What is written within a second or makes half a mebibyte is one batch.
extension Membership {
  private static let shippingInterval = 1.0

  /// Ships until cancelled.
  public func ship(_ outbox: AuditOutbox) async throws {
    try await keep("shipping the audit log") {
      // One connection for as long as it works: with several Auth Services behind one name each answer is of the same.
      let certificate = credentials.certificatePEM
      try await call { client in
        try await start(outbox, client)
        while credentials.certificatePEM == certificate {
          guard let batch = try await outbox.next() else {
            try await Task.sleep(for: .seconds(Self.shippingInterval))
            continue
          }
          try await send(batch, outbox, client)
          if !batch.isFull { try await Task.sleep(for: .seconds(Self.shippingInterval)) }
        }
      }
    }
  }

  /// Ships what is there, for a host that is about to stop. What does not go out in time does at the next start.
  public func shipRest(_ outbox: AuditOutbox, within seconds: Double) async {
    do {
      try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
          try await self.call { client in
            try await self.start(outbox, client)
            while let batch = try await outbox.next() { try await self.send(batch, outbox, client) }
          }
        }
        group.addTask {
          try await Task.sleep(for: .seconds(seconds))
          throw CancellationError()
        }
        try await group.next()
        group.cancelAll()
      }
    } catch {
      logger.info("the last audit records go to the Auth Service at the next start: \(error)")
    }
  }

  private func start(_ outbox: AuditOutbox, _ client: APIClient) async throws {
    let place: AuditPlace = try await client.get("/v1/hosts/audit")
    let head = try head(place)
    try await outbox.seek(head)
    try await outbox.acknowledge(head)
  }

  private func send(_ batch: AuditOutbox.Batch, _ outbox: AuditOutbox, _ client: APIClient) async throws {
    let path = "/v1/hosts/audit" + (batch.followsGap ? "?gap=1" : "")
    let place: AuditPlace = try await client.post(path, lines: batch.bytes)
    let head = try head(place)
    guard head == batch.end else {
      throw ToolError(
        "the Auth Service has records up to \(head.sequence) of this host, not \(batch.end.sequence)",
        hint: "another process ships under this host's certificate: data_dir was copied")
    }
    try await outbox.acknowledge(head)
  }

  private func head(_ place: AuditPlace) throws -> AuditHead {
    guard let head = AuditHead(sequence: place.last, digestHex: place.digest) else {
      throw ToolError("the server's answer is not understood; its version may differ from this host's")
    }
    return head
  }
}
