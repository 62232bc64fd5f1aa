import Reactor

/// The (process ID, secret) pairs that one reactor's clients were given, and the sessions they stand for.
///
/// A client never sees the database's own key. The process ID tells the owning reactor (its remainder by the number of
/// reactors), so a CancelRequest that arrives anywhere finds its way without shared state.
struct CancelKeys {
  struct Key: Hashable {
    let processID: UInt32
    let secret: UInt32
  }

  private struct Entry {
    let secret: UInt32
    let session: Handle
  }

  /// Wrong guesses a second that one source may make on one reactor before it is ignored for the rest of that second.
  private static let guessesPerSecond = 20
  private static let maximumSources = 10_000

  private var entries: [UInt32: Entry] = [:]
  private var wrongGuesses: [String: Int] = [:]
  private var guessWindow: UInt64 = 0
  private let reactorIndex: UInt32
  private let reactorCount: UInt32

  init(reactorIndex: Int, reactorCount: Int) {
    self.reactorIndex = UInt32(truncatingIfNeeded: reactorIndex)
    self.reactorCount = max(1, UInt32(truncatingIfNeeded: reactorCount))
  }

  /// Makes an unguessable key for `session`; 63 random bits, never in use already.
  mutating func issue(for session: Handle) -> Key {
    var random = SystemRandomNumberGenerator()
    while true {
      // Positive when read as int32, as clients that print it expect.
      let draw = UInt32.random(in: 1...0x7fff_0000, using: &random)
      let processID = draw - draw % reactorCount + reactorIndex
      guard processID != 0, entries[processID] == nil else { continue }
      let secret = UInt32.random(in: .min ... .max, using: &random)
      entries[processID] = Entry(secret: secret, session: session)
      return Key(processID: processID, secret: secret)
    }
  }

  mutating func revoke(_ key: Key) { entries[key.processID] = nil }

  /// The session that `key` cancels, or `nil` for a wrong key or a source that guesses too much.
  mutating func session(for key: Key, from source: String, now: UInt64) -> Handle? {
    if now / 1000 != guessWindow {
      guessWindow = now / 1000
      wrongGuesses.removeAll(keepingCapacity: true)
    }
    // Past the bound of the book no new source gets a guess in this second.
    let guesses = wrongGuesses[source]
    guard guesses ?? 0 < Self.guessesPerSecond, guesses != nil || wrongGuesses.count < Self.maximumSources else {
      return nil
    }
    // One comparison of one machine word: no timing tells how much of a guess was right.
    if let entry = entries[key.processID], entry.secret ^ key.secret == 0 { return entry.session }
    wrongGuesses[source, default: 0] += 1
    return nil
  }
}
