import Dispatch
import Glibc

/// The signals a service is told things by, as a stream; none of them ends the process by itself from here on.
final class Signals: Sendable {
  /// One reader at a time.
  let stream: AsyncStream<Int32>
  // Invariant: made once, never changed; cancelled when this object goes.
  nonisolated(unsafe) private let sources: [any DispatchSourceSignal]

  init(_ numbers: [Int32]) {
    let (stream, continuation) = AsyncStream<Int32>.makeStream(bufferingPolicy: .bufferingNewest(16))
    self.stream = stream
    sources = numbers.map { number in
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler { continuation.yield(number) }
      source.resume()
      return source
    }
  }

  deinit { for source in sources { source.cancel() } }
}
