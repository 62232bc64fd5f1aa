import CPlatform
import Glibc

/// What the kernel answered to one submitted operation.
public enum Completion {
  /// A listener has a new connection; the descriptor now belongs to the receiver of this completion.
  case accepted(descriptor: Int32)
  /// The listener cannot accept for now (`EMFILE`, `ENFILE`, `ENOMEM`...); call `accept` again later.
  case acceptFailed(errno: Int32)
  /// The connect operation ended; 0 means connected.
  case connected(errno: Int32)
  /// Bytes arrived. They are borrowed: valid only until the delivering call returns. Never empty.
  case received(UnsafeRawBufferPointer)
  /// The peer sent its end of stream; no more `received` will follow.
  case receivedEnd
  /// The socket is broken.
  case failed(errno: Int32)
  /// That many bytes of the submitted buffer were taken; at least one.
  case sent(count: Int)
}

/// The contract between a reactor and the kernel interface beneath it, in the shape of completions.
///
/// Rules that every back end keeps, and that the contract tests check:
/// 1. Submitting never delivers: completions come only out of `poll`.
/// 2. `accept` and `receive` are multishot: one submission, completions until `pause` or `close`.
/// 3. A send buffer stays valid and unmoved until its `sent` or `failed`, or until the owner given to `close` is let go;
///    one send at a time per handle.
/// 4. After `close(handle)` returns, nothing is ever delivered for that handle.
/// 5. `wake` may be called from any thread and makes the current or next `poll` return; all else is bound to one thread.
///
/// Sources: epoll(7), io_uring(7). docs/decisions/001-reactor-contract.md checks it against io_uring.
public protocol CompletionBackend: AnyObject {
  /// Makes `descriptor` known under `handle` and takes ownership of it: `close(handle)` closes it.
  func register(_ descriptor: Int32, as handle: Handle) throws(SystemError)
  /// Starts accepting on a listening socket.
  func accept(_ handle: Handle)
  /// Starts connecting a fresh socket.
  func connect(_ handle: Handle, to address: SocketAddress)
  /// Starts (or goes on) receiving.
  func receive(_ handle: Handle)
  /// Stops receiving or accepting; bytes stay in the kernel.
  func pause(_ handle: Handle)
  /// Sends `bytes` (not empty), all or a first part of them.
  func send(_ handle: Handle, _ bytes: UnsafeRawBufferPointer)
  /// Sends end of stream: shutdown(2) for writing.
  func shutdownWrite(_ handle: Handle)
  /// Closes the descriptor and forgets the handle.
  ///
  /// - Parameter owner: of the send buffer: kept alive for as long as the kernel may read from it.
  func close(_ handle: Handle, keeping owner: AnyObject?)
  /// The end, when all is closed: waits until the kernel reads from no send buffer any more and their owners can go, for two
  /// seconds at most. Delivers nothing.
  func finish()
  /// Waits up to `timeoutMilliseconds` (-1: for ever) and delivers what completed.
  ///
  /// `awoke` is called once, after the wait and before what it brought is delivered: time may have passed.
  func poll(timeoutMilliseconds: Int32, awoke: () -> Void, deliver: (Handle, Completion) -> Void)
  /// Returns a function, callable from any thread, that makes `poll` return.
  var waker: Waker { get }
  /// Monotonic milliseconds; the reactor reads them once a turn, after the wait.
  var now: UInt64 { get }
  /// Where the sockets come from that this back end works on.
  var sockets: any SocketSource { get }
}

extension CompletionBackend {
  /// The kernel's monotonic clock.
  @inline(__always)
  public var now: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1000 &+ UInt64(time.tv_nsec) / 1_000_000
  }

  /// The kernel's sockets.
  public var sockets: any SocketSource { KernelSockets() }

  /// For those that keep no owners.
  public func finish() {}
}

/// A failed system call.
public struct SystemError: Error, CustomStringConvertible, Sendable {
  public let call: String
  public let errno: Int32

  public init(call: String, errno: Int32) {
    self.call = call
    self.errno = errno
  }

  public var description: String { "\(call): \(Self.text(errno))" }

  /// strerror_r(3) text of an error number.
  public static func text(_ number: Int32) -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
      guard let base = buffer.baseAddress else { return "error \(number)" }
      buffer.initialize(repeating: 0)
      guard platform_error_text(number, base, buffer.count) == 0 else { return "error \(number)" }
      return String(cString: base)
    }
  }
}
