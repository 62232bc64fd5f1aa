import Glibc
import PostgresWire
import TLS
import Testing

@testable import Gateway

@Suite(.serialized) struct DeadlineTests {
  @Test func aClientThatNeverReadsIsEndedAsStalled() throws {
    let scene = try Scene {
      $0.stallDeadline = 700
    } database: { database, context in
      try database.acceptLogin(context)
      database.send(Say.ready)
      // Far more than all buffers between here and the client hold.
      let row = [0x44, 0, 0x10, 0, 4] + [UInt8](repeating: 0, count: 1 << 20)
      for _ in 0..<100 { database.send(row) }
      _ = database.receive()
    }
    defer { scene.end() }
    let end = try #require(scene.authorizer.waitForEnd())
    #expect(end.reason == "stalled")
  }

  @Test func aClientThatReadsSlowlyIsNotStalled() throws {
    let scene = try Scene {
      $0.stallDeadline = 700
    } database: { database, context in
      try database.acceptLogin(context)
      database.send(Say.ready)
      let row = [0x44, 0, 0x10, 0, 4] + [UInt8](repeating: 0, count: 1 << 20)
      for _ in 0..<12 { database.send(row) }
    }
    defer { scene.end() }
    var received = 0
    while let part = scene.client.receive() {
      received += part.count
      usleep(2_500)
    }
    #expect(received > 12 << 20)
    #expect(try #require(scene.authorizer.waitForEnd()).reason == "database closed the connection")
  }

  @Test func theLimitsOfASessionGoWithIt() async throws {
    // An hour for each: what is left of them would be due then, and a day of sessions would pile up.
    let scene = try Scene(limit: 3_600_000) { database, context in
      try database.acceptLogin(context)
      database.send(Say.ready)
    }
    defer { scene.end() }
    #expect(try #require(scene.authorizer.waitForEnd()).reason == "database closed the connection")
    var isQuiet = false
    // Timers of a few seconds, such as that for dialling, run out by themselves.
    for _ in 0..<100 where !isQuiet {
      isQuiet = await scene.running.ask(within: .seconds(1)) { $0.reactor.nextTimer == nil } == [true]
      try await Task.sleep(for: .milliseconds(200))
    }
    #expect(isQuiet)
  }

  enum Stage: CaseIterable { case tlsAnswer, handshake, authentication, midAuthentication, settling }

  @Test(arguments: Stage.allCases) func aSilentDatabaseEndsTheLogin(stage: Stage) throws {
    let scene = try Scene {
      $0.databaseDeadline = 400
    } database: { database, context in
      _ = database.receive()
      if stage != .tlsAnswer { database.send(Array("S".utf8)) }
      if stage != .tlsAnswer, stage != .handshake {
        try database.secure(as: context)
        _ = database.receive()
        if stage == .midAuthentication { database.send(Say.scram) }
        if stage == .settling { database.send(Array(Say.ready[..<9])) }
      }
      while database.receive() != nil {}
    }
    defer { scene.end() }
    let start = ContinuousClock.now
    let answer = String(decoding: scene.client.receiveAll(), as: UTF8.self)
    #expect(answer.contains("C08001\0"))
    let words: String =
      switch stage {
      case .tlsAnswer: "answer whether it does TLS"
      case .handshake: "go on with the TLS handshake"
      case .authentication, .midAuthentication: "go on with the authentication"
      case .settling: "become ready"
      }
    #expect(answer.contains(words))
    #expect((.milliseconds(300) ... .seconds(3)).contains(ContinuousClock.now - start))
  }

  @Test func aDatabaseThatAnswersAtEachStepHasItsTime() throws {
    let scene = try Scene {
      $0.databaseDeadline = 600
    } database: { database, context in
      try database.acceptLogin(context)
      for byte in Say.ready {
        usleep(100_000)
        database.send([byte])
      }
      _ = database.receive()
    }
    defer { scene.end() }
    #expect(scene.client.receive()?.first == UInt8(ascii: "R"))
  }

  @Test func keysThatCannotBeDerivedEndTheLogin() throws {
    let refuse: @Sendable (ScramDerivation) throws(AuthenticationFailure) -> ScramKeys = {
      _ throws(AuthenticationFailure) in
      throw .refused("the keys cannot be derived", hint: nil)
    }
    let scene = try Scene(deriveKeys: refuse) { database, context in
      try database.acceptLogin(context)
      database.send(Say.scram)
      let first = String(decoding: database.receive() ?? [], as: UTF8.self)
      let nonce = first.split(separator: "r=").last ?? ""
      let challenge = "r=\(nonce)x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
      database.send([0x52, 0, 0, 0, UInt8(8 + challenge.utf8.count), 0, 0, 0, 11] + Array(challenge.utf8))
      // No proof made of guessable keys may come.
      #expect(database.receive() == nil)
    }
    defer { scene.end() }
    let answer = String(decoding: scene.client.receiveAll(), as: UTF8.self)
    #expect(answer.contains("C08001\0") && answer.contains("the keys cannot be derived"))
  }
}
